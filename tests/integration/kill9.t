#!/usr/bin/env bash
# Mixed commands through three workers that are killed with -9 at seeded moments, each replaced by a new one; then the judge.
# KILL9_JOBS, KILL9_KILLS and SEED change the size and the course; what happened runs again with the same three.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"

jobs=${KILL9_JOBS:-20000} kills=${KILL9_KILLS:-12} seed=${SEED:-$((RANDOM + 1))}
diag "KILL9_JOBS=$jobs KILL9_KILLS=$kills SEED=$seed"
RANDOM=$seed

servers_up
migrate

# A job that several of these kills hit is bad luck here, not poison.
settings=(BOOKING_LEASE_MS=1000 BOOKING_MAX_DELIVERIES=50 BOOKING_LANES=2 BOOKING_BATCH=16)
for n in 1 2 3; do worker_up "w$n" "${settings[@]}"; done

awk -v n="$jobs" -v seed="$seed" -v resources=40 -f "$root/tests/support/commands.awk" >"$T/commands"
ctl pause >/dev/null
ctl enqueue --journal "$T/journal" "$T/commands" >"$T/out" 2>&1 || { diag "$(cat "$T/out")" && bail "enqueue: exit $?"; }
ctl resume >/dev/null

# All of it waits; every so often somebody who holds some of it dies, and somebody new comes.
idle=0 n=3
for ((i = 1; i <= kills; i++)); do
  at=$((jobs * i / (kills + 2) + RANDOM % (jobs / (kills + 2))))
  wait_until 60 ledger_at_least $at || bail "stuck before $at of $jobs"
  names=("${!worker_pid[@]}")
  kill_worker "${names[RANDOM % ${#names[@]}]}"
  ! ledger_at_least "$jobs" || idle=$((idle + 1))
  n=$((n + 1))
  start_worker "w$n" "${settings[@]}"
done

ok "$((kills - idle)) of them while there was work" test $((kills - idle)) -ge $((kills / 2))
ok 'the queue drains' wait_until 60 drained
ok 'the judge finds nothing' judge "$T/journal"
diag "$(cat "$T/verdict")"
for name in "${!worker_pid[@]}"; do
  stop_worker "$name"
  is "$status" 0 "$name leaves when asked"
done
ok 'and finds nothing afterwards' judge "$T/journal"
done_testing
