#!/usr/bin/env bash
# Redis fails in every way it has, under load: what it had acknowledged is done once, and the workers come back by
# themselves. Where it has lost everything, they begin anew.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"
# shellcheck source-path=SCRIPTDIR source=../support/proxy.sh
. "$(dirname "$0")/../support/proxy.sh"

# Its log cannot grow while $T/full exists.
export FAULT_DISK_FLAG='' FAULT_DISK_MATCH=appendonlydir FAULT_DISK_ERRNO=5
redis_start() { LD_PRELOAD=$(test_program fault-disk.so) servers redis-start; }
servers_up() {
  T=$(mktemp -d /tmp/booking-test.XXXXXX)
  trap tear_down EXIT
  "$root/deploy/servers" start "$T" || bail 'no servers'
  FAULT_DISK_FLAG=$T/full
  servers redis-kill
  redis_start
  servers_env
}

killed() {
  begin
  servers redis-kill
  fired 'no worker is ready' wait_until 30 all_ready 503
  redis_start
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
  told_lost 100
}

lost_everything() {
  begin
  backlog
  servers redis-kill
  rm -rf "$T/redis/appendonlydir"
  redis_start
  healed
  fired 'it is empty' test "$(redis exists "$(key audit)")" = 0
  ok "$scenario: the workers join anew" wait_until $((10 * slack)) both_listed
  ok "$scenario: and have brought the functions" redis fcall booking_hello 1 "$(key inbox)"
  back_at_work
  none_suffered
  told_lost 100
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
  told_lost # whatever waited when everything was taken away
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

# Acknowledged every second only: what a crash costs is told, is no more than the last second (and what was enqueued since
# the last fsync), and is never done twice.
killed_everysec() {
  local before lost
  begin
  redis config set appendfsync everysec >/dev/null
  some_time 1500
  before=$(now_ms)
  servers redis-kill
  fired 'no worker is ready' wait_until 30 all_ready 503
  redis_start
  healed
  back_at_work
  none_suffered
  told_lost 0
  lost=$(jq -r '[.findings[] | select(.wrong == "lost") | .subject | select(test("^[0-9]+-[0-9]+$")) | split("-")[0] | tonumber] | min // empty' <<<"$verdict")
  if [ -n "$lost" ]; then
    ok "$scenario: the oldest that was lost came $((before - lost)) ms before the crash" test $((before - lost)) -le 2500
  fi
}

# --- R2: between the worker, the producer, and the queue

# What a lane says to Redis in a turn: two calls, and two answers come back; each is cut, before it has passed and behind
# it, in each way. The producer's XADDs likewise.
cut_sweep() {
  local cuts=() chosen cut how when what
  clean_up
  proxy_up redis resp "127.0.0.1:${REDIS_URL##*:}"
  http[alice]=$(free_port)
  worker_up alice BOOKING_HTTP="127.0.0.1:${http[alice]}" BOOKING_LANES=1 BOOKING_BATCH=8 BOOKING_LEASE_MS=1500 \
    REDIS_URL="redis://127.0.0.1:${proxy_port[redis]}"
  for how in rst fin silence; do
    for when in before after; do
      for what in booking_take booking_settle booking_beat XREAD XADD; do
        for at in client:1 client:2 server:1 server:2; do
          [[ $what != booking_beat && $what != XREAD ]] || [[ $at = *:1 ]] || continue
          cuts+=("side=${at%:*} at=${at#*:} when=$when how=$how from=$what")
        done
      done
    done
  done
  [ -n "$long" ] || {
    mapfile -t chosen < <(for _ in {1..12}; do echo "${cuts[RANDOM % ${#cuts[@]}]}"; done | sort -u)
    cuts=("${chosen[@]}")
  }
  for cut in "${cuts[@]}"; do
    # shellcheck disable=SC2086 # words
    arm redis cut $cut
    few_commands
    if has_fired redis 20 >/dev/null; then faults_fired=$((faults_fired + 1)); else fired "$cut" false; fi
    healed
    ok "$scenario: $cut: the jobs are done" wait_until 30 drained
    tell redis heal >/dev/null
  done
  recovery_ms=$(($(now_ms) - healed_at))
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}
# few_commands: thirty, by way of the proxy; what is not acknowledged is not sent again
pieces=0
few_commands() {
  pieces=$((pieces + 1))
  awk -v n=30 -v seed=$((seed * 1009 + pieces)) -v resources=40 -v prefix="p$pieces" -f "$root/tests/support/commands.awk" >"$T/piece"
  REDIS_URL="redis://127.0.0.1:${proxy_port[redis]}" "$bin/bookingctl" enqueue --journal "$T/journal.p$pieces" "$T/piece" >"$T/out" 2>&1 || true
}

# A take that was given up and comes all the same, when the lane has long taken again: whoever sent it does not read the
# answer, so it must not get anything.
late_take() {
  clean_up
  proxy_up redis resp "127.0.0.1:${REDIS_URL##*:}"
  http[alice]=$(free_port)
  worker_up alice BOOKING_HTTP="127.0.0.1:${http[alice]}" BOOKING_LANES=1 BOOKING_BATCH=8 BOOKING_LEASE_MS=60000 \
    REDIS_URL="redis://127.0.0.1:${proxy_port[redis]}"
  arm redis delay side=client at=1 ms=5000 from=booking_take
  few_commands
  fired 'a take is late' has_fired redis 20
  ok "$scenario: the jobs are done all the same" wait_until 30 drained
  signal_worker alice TSTP
  wait_until 10 readyz "${http[alice]}" 503 || bail 'alice is not quiet'
  few_commands
  ok "$scenario: it comes when others are waiting" test "$(stat_of redis held)" -gt 0
  wait_until 20 delivered || bail 'the take is never delivered'
  is "$(depth active)" 0 "$scenario: and gets nothing"
  signal_worker alice CONT
  healed
  ok "$scenario: those are done, too" wait_until 30 drained
  recovery_ms=$(($(now_ms) - healed_at))
  judged
}
delivered() { [ "$(stat_of redis held)" = 0 ]; }

# --- R6

# Somebody has emptied or replaced the functions under the workers.
functions() {
  begin
  fired 'the functions are gone' redis function flush
  ok "$scenario: the workers bring them back" wait_until 20 redis fcall_ro booking_hello 1 "$(key inbox)"
  wait_until 20 ledger_at_least $(($(sql 'select count(*) from booking.command') + 1)) || bail 'nothing is done'
  sed -E 's/^local VERSION = .*/local VERSION = 1/' "$root/common/queue.lua" | redis -x function load replace >/dev/null
  redis client kill type normal >/dev/null
  fired 'they were older, and are replaced' wait_until 20 current_functions
  healed
  recovers
}
current_functions() { [ "$(redis fcall_ro booking_hello 1 "$(key inbox)")" = "$(sed -nE 's/^local VERSION = //p' "$root/common/queue.lua")" ]; }

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

# The disk under the log fails: with appendfsync always Redis ends itself.
disk_error() {
  begin
  : >"$T/full"
  fired 'Redis gives up' wait_until 20 grep -Eq "Can't (persist|recover)|MISCONF|Short write|AOF write error|error writing" "$T/redis/log"
  fired 'no worker is ready' wait_until 30 all_ready 503
  rm "$T/full"
  redis ping >/dev/null 2>&1 || { rm -f "$T/redis.pid" && redis_start; }
  healed
  recovers
}

# With everysec it stays up and refuses to write.
disk_error_everysec() {
  begin
  redis config set appendfsync everysec >/dev/null
  : >"$T/full"
  fired 'it refuses to write' wait_until 20 log_says MISCONF
  rm "$T/full"
  healed
  back_at_work
  none_suffered
  told_lost 0
  redis config set appendfsync always >/dev/null
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

scenario R1 killed 'SIGKILL with appendfsync always'
scenario R1b killed_everysec 'SIGKILL with appendfsync everysec'
scenario R1c frozen 'SIGSTOPped for 5 s'
scenario R1d frozen_long 'SIGSTOPped for two leases'
scenario R2 cut_sweep 'cut sweep over RESP messages, the producer too'
scenario R2b late_take 'a take that arrives after it was given up'
scenario R2c join_unanswered 'a join that is not answered'
scenario R5 flushed 'FLUSHALL'
scenario R6 functions 'functions missing, then older'
scenario R7 full 'maxmemory reached under noeviction'
scenario R8 disk_error 'disk error on the AOF, appendfsync always'
scenario R8b disk_error_everysec 'disk error on the AOF, everysec'
scenario R9 clients_killed 'CLIENT KILL, ten a second'
scenario R9b paused 'CLIENT PAUSE'
scenario R10 password 'wrong password, then the right one'
scenario R11 lost_everything 'a restart that lost everything'
run_scenarios "$@"
