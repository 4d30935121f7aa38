#!/usr/bin/env bash
# A queue lives on one slot of a Redis Cluster: whichever node the URL names, the worker finds the one that has it, and
# follows when the slot moves under load.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

ports=() buses=()
node_up() { redis-cli -p "$1" ping >/dev/null 2>&1; }
node_id() { redis-cli -p "$1" cluster myid; }
settled() { for port in "${ports[@]}"; do redis-cli -p "$port" cluster info | grep -q cluster_state:ok || return 1; done; }

# Three nodes with a third of the slots each. The programs always ask the first; redis-cli is sent to the one that has the
# queue.
family_up() {
  local i
  for i in 0 1 2; do
    ports+=("$(free_port)")
    buses+=("$(free_port)")
    mkdir "$T/node$i"
    redis-server --port "${ports[i]}" --cluster-port "${buses[i]}" --bind 127.0.0.1 --cluster-enabled yes \
      --dir "$T/node$i" --appendonly yes --appendfsync always --save '' --logfile "$T/node$i/log" >/dev/null &
    nodes+=($!)
    wait_until 10 node_up "${ports[i]}" || bail "node $i does not start: $(tail -2 "$T/node$i/log")"
  done
  redis-cli -p "${ports[0]}" cluster addslotsrange 0 5461 >/dev/null
  redis-cli -p "${ports[1]}" cluster addslotsrange 5462 10922 >/dev/null
  redis-cli -p "${ports[2]}" cluster addslotsrange 10923 16383 >/dev/null
  for i in 1 2; do redis-cli -p "${ports[0]}" cluster meet 127.0.0.1 "${ports[i]}" "${buses[i]}" >/dev/null; done
  wait_until 20 settled || bail 'the cluster does not come to rest'
  slot=$(redis-cli -p "${ports[0]}" cluster keyslot "$(key inbox)")
  for i in 0 1 2; do
    queue_url=redis://127.0.0.1:${ports[i]}
    is "$(exit_code ctl status)" 0 "by way of node $i"
  done
  owned_by $((slot / 5462))
}
nodes=()
trap_nodes=$(declare -f tear_down)
eval "servers_${trap_nodes}" # as lib.sh has it, behind our own nodes
tear_down() {
  local status=$?
  kill -KILL "${nodes[@]}" 2>/dev/null || true
  (exit $status) || true
  servers_tear_down
}

# owned_by NODE: where the queue is now
owned_by() {
  owner=$1
  REDIS_URL=redis://127.0.0.1:${ports[owner]}
  queue_url=redis://127.0.0.1:${ports[($owner + 1) % 3]} # another one, which sends everybody on
}

moved() {
  local from=$owner to=$(((owner + 2) % 3)) i
  begin BOOKING_LEASE_MS=3000
  redis-cli -p "${ports[to]}" cluster setslot "$slot" importing "$(node_id "${ports[from]}")" >/dev/null
  redis-cli -p "${ports[from]}" cluster setslot "$slot" migrating "$(node_id "${ports[to]}")" >/dev/null
  fired "its slot moves from node $from to node $to" wait_until 30 emptied "${ports[from]}" "${ports[to]}"
  for i in $to $from 0 1 2; do redis-cli -p "${ports[i]}" cluster setslot "$slot" node "$(node_id "${ports[to]}")" >/dev/null; done
  REDIS_URL=redis://127.0.0.1:${ports[to]}
  healed
  recovers
  owned_by $to
}
emptied() { # hands over what is there now; the worker may write between two looks
  local keys
  mapfile -t keys < <(redis-cli -p "$1" cluster getkeysinslot "$slot" 100)
  [ -n "${keys[0]:-}" ] || return 0
  redis-cli -p "$1" migrate 127.0.0.1 "$2" '' 0 5000 keys "${keys[@]}" >>"$T/move.log" 2>&1
  return 1
}

# While the slot is being handed over, a key that is missing cannot be made: a function that has begun to write must not run
# into that. All places have something in them, so that nothing stops it before.
half_moved() {
  local to=$(((owner + 1) % 3)) place held left
  clean_up
  worker_up alice BOOKING_LEASE_MS=60000
  stop_worker alice # its functions stay
  for place in retry scheduled dead; do redis zadd "$(key $place)" 99999999999999 0-1 >/dev/null; done
  redis fcall booking_join 1 "$(key inbox)" w@1 60000 >/dev/null
  redis hset "$(key config)" breaker '' >/dev/null
  redis hset "$(key job:0-2)" id x key x kind k args '{}' >/dev/null
  redis hset "$(key gate)" x 1 >/dev/null
  redis rpush "$(key ready)" 0-2 0-2 >/dev/null
  redis hset "$(key active:w@1)" 0-3 7:y >/dev/null
  held=$(awk -v n=1 -v prefix=half -f "$root/tests/support/commands.awk")
  ctl enqueue --journal "$T/journal.half" - <<<"$held" >"$T/out" || bail "$(cat "$T/out")"
  redis cluster setslot "$slot" migrating "$(node_id "${ports[to]}")" >/dev/null
  fired 'the function is refused' refused redis fcall booking_take 1 "$(key inbox)" w@1 0 1 64 0 0
  left=$(redis xlen "$(key inbox)")
  is "$left" 1 "$scenario: and has taken nothing out of the inbox"
  redis cluster setslot "$slot" stable >/dev/null
  redis del "$(key retry)" "$(key scheduled)" "$(key dead)" "$(key job:0-2)" "$(key gate)" "$(key ready)" "$(key active:w@1)" \
    "$(key workers)" "$(key worker:w)" >/dev/null
  healed
  worker_up alice
  ok "$scenario: the job is done" wait_until 30 drained
  recovery_ms=$(($(now_ms) - healed_at))
  judged
}
refused() { "$@" | tee "$T/out" | grep -q 'non local key'; }

scenario R4 moved 'cluster slot moved under load'
scenario R4b half_moved 'cluster slot half moved'
run_scenarios "$@"
