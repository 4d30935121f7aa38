#!/usr/bin/env bash
# A queue lives on one slot of a Redis Cluster: whichever node the URL names, the worker finds the one that has it, and
# follows when the slot moves.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/support/lib.sh
. "$root/tests/support/lib.sh"

servers_up
migrate

ports=() buses=()
node_up() { redis-cli -p "$1" ping >/dev/null 2>&1; }
for i in 0 1; do
  ports+=("$(free_port)")
  buses+=("$(free_port)")
  mkdir "$T/node$i"
  timeout 150 redis-server --port "${ports[i]}" --cluster-port "${buses[i]}" --bind 127.0.0.1 --cluster-enabled yes \
    --dir "$T/node$i" --appendonly yes --save '' --logfile "$T/node$i.log" >/dev/null &
  wait_until 10 node_up "${ports[i]}" || bail "node $i does not start: $(tail -2 "$T/node$i.log")"
done
stop_nodes() { for port in "${ports[@]}"; do redis-cli -p "$port" shutdown nosave >/dev/null 2>&1 || true; done; }
redis-cli -p "${ports[0]}" cluster addslotsrange 0 8191 >/dev/null
redis-cli -p "${ports[1]}" cluster addslotsrange 8192 16383 >/dev/null
redis-cli -p "${ports[0]}" cluster meet 127.0.0.1 "${ports[1]}" "${buses[1]}" >/dev/null
settled() { for port in "${ports[@]}"; do redis-cli -p "$port" cluster info | grep -q cluster_state:ok || return 1; done; }
wait_until 20 settled || bail 'the cluster does not come to rest'
slot=$(redis-cli -p "${ports[0]}" cluster keyslot '{booking}:inbox')

for port in "${ports[@]}"; do
  export REDIS_URL=redis://127.0.0.1:$port
  is "$(exit_code ctl status)" 0 "by way of node $port"
done
start_worker w1 BOOKING_LEASE_MS=3000
joined() { grep -q 'joined the queue' "$T/w1.log"; }
ok 'a worker joins' wait_until 20 joined
create() { # create ID N
  printf '{"id":"%s","kind":"booking.create","args":{"booking_id":"00000000-0000-4000-8000-%012d","resource_id":1,' "$1" "$2"
  printf '"customer_id":1,"starts_at":"2030-01-%02dT10:00:00Z","ends_at":"2030-01-%02dT11:00:00Z"}}\n' "$2" "$2"
}
create c1 1 | ctl enqueue - >/dev/null
ok 'a job is done' wait_until 20 ledger_has c1

# the slot moves to another node while the worker runs
node_id() { redis-cli -p "$1" cluster myid; }
from=''
for port in "${ports[@]}"; do
  if redis-cli -p "$port" exists '{booking}:workers' 2>/dev/null | grep -q 1; then from=$port; fi
done
for port in "${ports[@]}"; do [ "$port" = "$from" ] || to=$port; done
ok "the queue is on one node ($from)" test -n "$from"
redis-cli -p "$to" cluster setslot "$slot" importing "$(node_id "$from")" >/dev/null
redis-cli -p "$from" cluster setslot "$slot" migrating "$(node_id "$to")" >/dev/null
emptied() { # hands over what is there now; the worker may write between two looks
  local keys
  mapfile -t keys < <(redis-cli -p "$from" cluster getkeysinslot "$slot" 100)
  [ -n "${keys[0]:-}" ] || return 0
  redis-cli -p "$from" migrate 127.0.0.1 "$to" '' 0 5000 keys "${keys[@]}" >>"$T/move.log" 2>&1
  return 1
}
ok "its slot moves to $to" wait_until 20 emptied
for port in "$to" "$from"; do redis-cli -p "$port" cluster setslot "$slot" node "$(node_id "$to")" >/dev/null; done
create c2 2 | ctl enqueue - >/dev/null
ok 'the worker follows' wait_until 30 ledger_has c2
ok 'and is done' wait_until 20 drained
stop_worker w1
is "$status" 0 'the worker leaves'
stop_nodes
done_testing
