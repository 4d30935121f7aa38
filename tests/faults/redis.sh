#!/usr/bin/env bash
# Redis fails in every way it has, under load: what it had acknowledged is done once, and the workers come back by
# themselves. Where it has lost everything, they begin anew.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

servers_up
migrate

killed() {
  begin
  servers redis-kill
  fired 'no worker is ready' wait_until 30 all_ready 503
  servers redis-start
  healed
  recovers
}

frozen() {
  local thaw_at
  begin
  thaw_at=$(($(now_ms) + 5000))
  servers redis-freeze
  fired 'no worker is ready' wait_until 30 all_ready 503
  wait_until 20 past "$thaw_at"
  servers redis-thaw
  healed
  fired 'a call ran into its deadline' wait_until 20 log_says 'no answer in time'
  recovers
}

# Longer than the lease: each worker has lost its jobs, as far as the others can tell.
frozen_long() {
  local thaw_at
  begin BOOKING_LEASE_MS=1500
  thaw_at=$(($(now_ms) + 3000))
  servers redis-freeze
  fired 'no worker is ready' wait_until 30 all_ready 503
  wait_until 20 past "$thaw_at"
  servers redis-thaw
  healed
  recovers
}

# What was in the queue is gone, and the judge says so; that is all.
nothing_but_lost() {
  local verdict
  verdict=$("$root/tests/support/judge" --json "$T"/journal.* | tail -n 1 || true)
  is "$(jq -c '.counts | del(.lost) | with_entries(select(.value != 0))' <<<"$verdict")" '{}' \
    "$scenario: nothing is doubled, misordered or stranded"
  ok "$scenario: what was lost is counted: $(jq .counts.lost <<<"$verdict")" test "$(jq .counts.lost <<<"$verdict")" -ge 100
}

# So that there is something to lose.
inbox_at_least() { [ "$(depth inbox)" -ge "$1" ]; }
backlog() {
  ctl pause >/dev/null
  wait_until 30 inbox_at_least 200 || bail "$scenario: no backlog"
}

both_listed() { worker_listed alice && worker_listed bob; }

flushed() {
  begin
  backlog
  fired 'it is empty' redis flushall
  healed
  ok "$scenario: the workers join anew" wait_until $((10 * slack)) both_listed
  back_at_work
  none_suffered
  nothing_but_lost
}

lost_everything() {
  begin
  backlog
  servers redis-kill
  rm -rf "$T/redis/appendonlydir"
  servers redis-start
  healed
  fired 'it is empty' test "$(redis exists "$(key audit)")" = 0
  ok "$scenario: the workers join anew" wait_until $((10 * slack)) both_listed
  ok "$scenario: and have brought the functions" redis fcall booking_hello 1 "$(key inbox)"
  back_at_work
  none_suffered
  nothing_but_lost
}

# A worker that has lost its place joins anew, and never hears that it has: it must not take its own new place for
# somebody else's and leave. (For each worker the first join takes longer than it waits for the answer.)
join_unanswered() {
  begin
  awk '/^local function join\(/ { inside = 1 }
    inside && /return \{ now, recovered \}/ {
      print "  if redis.call(\"SETNX\", p .. \"slow:\" .. name_of(worker), 1) == 1 then"
      print "    local began = os.clock() while os.clock() - began < 2.5 do end"
      print "  end"
      inside = 0
    } 1' "$root/common/queue.lua" >"$T/slow.lua"
  redis -x function load replace <"$T/slow.lua" >/dev/null
  redis flushall >/dev/null
  fired 'both joins were slow' wait_until 40 test_slow
  healed
  ok "$scenario: the workers are back" wait_until 30 both_listed
  redis -x function load replace <"$root/common/queue.lua" >/dev/null
  back_at_work
  none_suffered
}
test_slow() { [ "$(redis exists "$(key slow:alice)" "$(key slow:bob)")" = 2 ]; }

clients_killed() {
  local count
  begin
  count=$(for _ in {1..80}; do
    redis client kill type normal
    sleep 0.1
  done | awk '{ n += $1 } END { print n }')
  healed
  fired "$count connections were killed" test "$count" -ge 80
  recovers
}

paused() {
  begin
  redis client pause 5000 all >/dev/null
  fired 'no worker is ready' wait_until 30 all_ready 503
  wait_until 20 redis ping # answered when the pause is over
  healed
  fired 'a call ran into its deadline' wait_until 20 log_says 'no answer in time'
  recovers
}

full() {
  begin
  redis config set maxmemory 1mb >/dev/null
  fired 'XADD is refused' wait_until 20 grep -q OOM "$T/stream.log"
  ok "$scenario: the workers drain it all the same" wait_until 30 drained
  ok "$scenario: and are ready" wait_until 10 all_ready 200
  redis config set maxmemory 0 >/dev/null
  healed
  recovers
}

password() {
  redis config set requirepass one >/dev/null
  queue_url=${REDIS_URL/:\/\//:\/\/:one@}
  REDIS_URL=${REDIS_URL/:\/\//:\/\/default:one@}
  begin
  redis config set requirepass two >/dev/null 2>&1
  REDIS_URL=${REDIS_URL/:one@/:two@}
  redis client kill type normal >/dev/null
  fired 'no worker is ready' wait_until 30 all_ready 503
  fired 'they say why' wait_until 20 log_says 'WRONGPASS'
  redis config set requirepass one >/dev/null
  REDIS_URL=${REDIS_URL/:two@/:one@}
  healed
  recovers
  redis config set requirepass '' >/dev/null
  REDIS_URL=${REDIS_URL/default:one@/} queue_url=''
}

run killed
run frozen
run frozen_long
run flushed
run lost_everything
run join_unanswered
run clients_killed
run paused
run full
run password
done_testing
