#!/usr/bin/env bash
# What signals, a namesake and sudden death do to a worker, and what becomes of the jobs it held.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
migrate

serial=0
create() { # create ID...: one booking each, every one with a slot of its own
  local id
  for id in "$@"; do
    serial=$((serial + 1))
    printf '{"id":"%s","kind":"booking.create","args":{"booking_id":"00000000-0000-4000-8000-%012d","resource_id":%d,' \
      "$id" $serial $((1 + serial % 10))
    printf '"customer_id":1,"starts_at":"20%02d-%02d-01T10:00:00Z","ends_at":"20%02d-%02d-01T11:00:00Z"}}\n' \
      $((30 + serial / 10 % 60)) $((1 + serial / 600 % 12)) $((30 + serial / 10 % 60)) $((1 + serial / 600 % 12))
  done >"$T/commands"
  journals=$((${journals:-0} + 1))
  ctl enqueue --journal "$T/journal.$journals" "$T/commands" >"$T/out" || bail "enqueue: $(cat "$T/out")"
}
held_at_least() { [ "$(depth active)" -ge "$1" ]; }
attempts_of() { ctl job "$1" --json | jq -r '.attempts // 0'; }
stuck=(BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000)
busy='lock table booking.booking in share row exclusive mode'

# --- TERM, idle
worker_up idle
stop_worker idle
is "$status" 0 'TERM ends an idle worker with 0'
ok 'and it is no longer listed' wait_until 10 worker_unlisted idle
worker_up idle2
signal_worker idle2 INT
wait_exit idle2 20
is "$status" 0 'INT does too'
worker_up hup
signal_worker hup HUP
create h1
ok 'HUP is ignored' wait_until 20 ledger_has h1

# --- TERM with work in hand: what is held is finished, the rest stays for others
stop_worker hup
mapfile -t ids < <(seq -f 'big%g' 600)
create "${ids[@]}"
worker_up busy BOOKING_LANES=1 BOOKING_BATCH=8
wait_until 20 ledger_has big8 || bail 'the worker does not work'
stop_worker busy
is "$status" 0 'TERM ends a busy worker with 0'
is "$(depth active)" 0 'which holds nothing any more'
is "$(($(sql "select count(*) from booking.command where id ~ '^big'") + $(depth inbox) + $(depth ready) + $(depth waiting)))" 600 \
  'and every job is done or waits for another'

# --- TERM while the database does not answer: handed back, and free of charge
port=$(free_port)
worker_up patient "${stuck[@]}" BOOKING_HTTP=127.0.0.1:"$port"
ok 'another worker does the rest' wait_until 60 drained
hold "$busy"
create s1 s2 s3
ok 'three jobs are held by a worker that waits for a lock' wait_until 20 depth_is active 3
ok 'it is ready' readyz "$port" 200
signal_worker patient TERM
ok 'TERM: not ready any more' wait_until 10 readyz "$port" 503
signal_worker patient TERM
wait_exit patient 20
is "$status" 0 'TERM twice ends it'
is "$(depth active)" 0 'nothing is held'
is "$(attempts_of s1)" 0 'no attempt was spent'
let_go
worker_up w1
ok 'and they run' wait_until 20 drained

# --- TSTP and CONT
stop_worker w1
port=$(free_port)
worker_up quiet BOOKING_LEASE_MS=1500 BOOKING_HTTP=127.0.0.1:"$port"
ok 'a worker is ready' wait_until 20 readyz "$port" 200
signal_worker quiet TSTP
ok 'TSTP: not ready any more' wait_until 20 readyz "$port" 503
create q1
lease() { redis zrange "$(key workers)" 0 0 withscores | sed -n 2p; }
for _ in 1 2 3; do # it lives on: three heartbeats, seen by its lease, are time enough to take a job
  last=$(lease)
  beaten() { [ "$(lease)" != "$last" ]; }
  wait_until 10 beaten || bail 'no heartbeat'
done
is "$(depth inbox)" 1 'and takes nothing'
signal_worker quiet CONT
ok 'CONT: goes on' wait_until 20 ledger_has q1
ok 'and is ready' wait_until 20 readyz "$port" 200
signal_worker quiet TTIN
stop_worker quiet

# --- two workers of one name: the newcomer wins
worker_up twin BOOKING_LEASE_MS=1500
worker_pid[old]=${worker_pid[twin]}
start_worker twin BOOKING_LEASE_MS=1500
wait_exit old 20
ok "the older twin leaves (exit $status)" test "$status" -ne 124
mapfile -t ids < <(seq -f 'twin%g' 50)
create "${ids[@]}"
ok 'the younger one works' wait_until 20 drained
is "$(ctl workers --json | jq '[.[] | select(.name == "twin")] | length')" 1 'and is listed once'
stop_worker twin

# --- kill -9: the jobs run again within the lease and a second, and it costs them no attempt
lease_ms=1500
worker_up victim BOOKING_LEASE_MS=$lease_ms "${stuck[@]}"
hold "$busy"
create k1 k2 k3
ok 'three jobs are held' wait_until 20 depth_is active 3
worker_up heir BOOKING_LEASE_MS=$lease_ms "${stuck[@]}"
killed_at=$(now_ms)
kill_worker victim
heir_has() { [ "$(redis --raw keys "$(key 'active:*')" | grep -c heir)" = 1 ] && held_at_least 3; }
ok 'another worker has them' wait_until 10 heir_has
took=$(($(now_ms) - killed_at))
ok "$took ms after the kill, within lease + 1 s" test $took -le $((lease_ms + 1000))
is "$(attempts_of k1)" 0 'no attempt was spent'
let_go
ok 'and they are done' wait_until 20 drained
is "$(sql "select count(*) from booking.booking b join booking.command c on c.booking_id = b.id
           where c.id in ('k1', 'k2', 'k3') and b.version = 1")" 3 'once each'
stop_worker heir
is "$status" 0 'the heir leaves'
ok 'the judge finds nothing' judge "$T"/journal.*
done_testing
