#!/usr/bin/env bash
# The workers fail: they die at every moment, hang, wake up too late, lack memory, files, a log, time.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"
# shellcheck source-path=SCRIPTDIR source=../support/proxy.sh
. "$(dirname "$0")/../support/proxy.sh"

# Deaths are many here and mean nothing: no job is poison for them.
mortal=(BOOKING_LEASE_MS=1000 BOOKING_MAX_DELIVERIES=1000 BOOKING_LANES=2 BOOKING_BATCH=16)
busy='lock table booking.booking in share row exclusive mode'

# fill COUNT [AWK-OPTION...]: so many commands, journalled, in the queue at once
fills=0
fill() {
  local n=$1
  shift
  fills=$((fills + 1))
  awk -v n="$n" -v seed=$((seed * 1009 + fills)) -v resources=40 -v prefix="f$fills" "$@" -f "$root/tests/support/commands.awk" >"$T/fill"
  ctl enqueue --journal "$T/journal.f$fills" "$T/fill" >"$T/out" || bail "$(cat "$T/out")"
}
in_ledger() { sql 'select count(*) from booking.command'; }
held_at_least() { [ "$(depth active)" -ge "$1" ]; }

# --- W1

# One to four workers over a backlog that does not end; every so often one of them dies, and another comes, under a new name
# or the old one.
killed_at_random() {
  local kills=10 count i name names n=0
  [ -z "$long" ] || kills=40
  clean_up
  count=$((1 + RANDOM % 4))
  for ((n = 1; n <= count; n++)); do start_worker "w$n" "${mortal[@]}"; done
  for ((i = 1; i <= kills; i++)); do
    [ "$(depth inbox)" -gt 3000 ] || fill 5000
    wait_until 60 done_or_all_taken $(($(in_ledger) + 20 + RANDOM % 300)) || bail "$scenario: stuck"
    names=("${!worker_pid[@]}")
    name=${names[RANDOM % ${#names[@]}]}
    [ "$(depth inbox)" = 0 ] || faults_fired=$((faults_fired + 1))
    kill_worker "$name"
    [ $((RANDOM % 2)) = 0 ] || name=w$((++n))
    start_worker "$name" "${mortal[@]}"
  done
  ok "$scenario: $faults_fired of $kills while there was work" test "$faults_fired" -ge $((kills / 2))
  healed
  ok "$scenario: the queue drains" wait_until 60 drained
  recovery_ms=$(($(now_ms) - healed_at))
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

done_or_all_taken() { ledger_at_least "$1" || depth_is inbox 0; }

# --- W2

# A worker dies at each point that a turn passes, the n-th time it passes it; then one comes that lives.
crash_points() {
  local point n name
  clean_up
  for point in taken decided sent answered settle_sent settled beat leave; do
    n=$((1 + RANDOM % 4))
    case $point in beat | leave) n=1 ;; esac
    fill 120 -v twice=10
    start_worker crash "${mortal[@]}" BOOKING_CRASH_AT=$point:$n
    [ $point != leave ] || { wait_until 20 drained && signal_worker crash TERM; }
    wait_exit crash 20
    fired "$point:$n" test "$status" = 137
    # the next one bears its name, and fences it off at once, or another, and waits for its lease
    name=crash
    [ $((RANDOM % 2)) = 0 ] || name=other
    healed
    start_worker $name "${mortal[@]}"
    ok "$scenario: $point:$n: the queue drains" wait_until 30 drained
    recovery_ms=$(($(now_ms) - healed_at))
    ok "$scenario: $point:$n: the judge finds nothing" judge "$T"/journal.*
    stop_worker $name
  done
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# --- W3

# A worker is stopped in the middle of things, for longer than its lease; the other takes its jobs over, and its transaction
# and the heir's are in the server at the same time; then it wakes and still wants to settle.
zombie() {
  local name heir=alice i
  begin BOOKING_LEASE_MS=1000 BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000
  for i in 1 2 3 4; do
    printf '{"id":"z%d","kind":"booking.create","args":{"booking_id":"%s","resource_id":%d,"customer_id":1,' $i "$(zombies_booking $i)" $i
    printf '"starts_at":"2029-01-01T10:00:00Z","ends_at":"2029-01-01T11:00:00Z"}}\n'
  done >"$T/creates"
  ctl enqueue --journal "$T/journal.creates" "$T/creates" >"$T/out" || bail "$(cat "$T/out")"
  wait_until 20 ledger_has z4 || bail 'no bookings'
  hold "select from booking.booking where id::text like '00000000-0000-4000-8000-%' for update"
  for i in 1 2 3 4; do
    printf '{"id":"y%d","kind":"booking.confirm","args":{"booking_id":"%s"}}\n' $i "$(zombies_booking $i)"
  done >"$T/confirms"
  for i in {1..24}; do # behind them in their lines
    printf '{"id":"x%d","kind":"booking.reschedule","args":{"booking_id":"%s",' "$i" "$(zombies_booking $((1 + i % 4)))"
    printf '"starts_at":"2028-01-%02dT10:00:00Z","ends_at":"2028-01-%02dT11:00:00Z"}}\n' "$i" "$i"
  done >>"$T/confirms"
  ctl enqueue --journal "$T/journal.confirms" "$T/confirms" >"$T/out" || bail "$(cat "$T/out")"
  wait_until 20 blocked 1 || bail 'nobody is held up'
  name=$(sql "select application_name from pg_stat_activity where wait_event_type = 'Lock' and usename = 'app_worker' limit 1")
  [ -n "${worker_pid[$name]:-}" ] || bail "who is '$name'?"
  [ "$name" != alice ] || heir=bob
  signal_worker "$name" STOP
  wait_until 20 worker_unlisted "$name" || bail "$name keeps its lease"
  fired "the jobs of $name went to $heir, who is held up by the same" wait_until 20 blocked 2
  if [ $((RANDOM % 2)) = 0 ]; then
    let_go
    wait_until 20 ledger_has y4 || bail 'nobody goes on'
    signal_worker "$name" CONT
  else # it settles what the heir holds
    signal_worker "$name" CONT
    let_go
  fi
  healed
  recovers
}
zombies_booking() { printf '00000000-0000-4000-8000-%012d' "$1"; }
blocked() { # by the row locks, at least N sessions of the workers
  [ "$(sql "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and usename = 'app_worker'")" -ge "$1" ]
}

# It is stopped just before it sends a batch. When it wakes others have decided about the jobs, and it must not bring them to
# the database any more, where it would be too late for nothing but the ledger.
zombie_before_sending() {
  clean_up
  fill 400 -v twice=0
  worker_up sleeper BOOKING_LANES=1 BOOKING_BATCH=16 BOOKING_LEASE_MS=1000 BOOKING_STOP_AT=decided:$((2 + RANDOM % 4))
  fired 'it has stopped' wait_until 20 is_stopped sleeper
  start_worker heir "${mortal[@]}"
  ok "$scenario: another one does the rest" wait_until 30 drained
  signal_worker sleeper CONT
  healed
  ok "$scenario: it notices" wait_until 20 grep -q 'the lease has run out\|the lease had run out' "$T/sleeper.log"
  fill 100 -v twice=0
  ok "$scenario: and works again" wait_until 20 drained
  recovery_ms=$(($(now_ms) - healed_at))
  is "$(sql 'select max(deliveries) from booking.command')" 1 "$scenario: nothing was brought to the ledger twice"
  judged
}
is_stopped() { grep -q '^State:.T' "/proc/${worker_pid[$1]}/status"; }

# A worker that has lost a job to another says that it is done, when it has done nothing: by hand, at the very moment.
settled_by_a_stranger() {
  local ticket
  clean_up
  worker_up first
  stop_worker first # its functions stay
  fill 1 -v twice=0
  call join a@1 60000
  call join b@1 60000
  call take a@1 0 1 8 0 0
  ticket=$(redis --raw hkeys "$(key active:a@1)")
  redis zadd "$(key workers)" 1 a@1 >/dev/null # its lease has run out
  call take b@1 0 1 8 0 0
  fired 'another has the job' test "$(redis --raw hkeys "$(key active:b@1)")" = "$ticket"
  call settle a@1 0 1 'done' "$ticket"
  is "$(redis exists "$(key "job:$ticket")")" 1 "$scenario: the job is still there"
  call leave b@1
  healed
  worker_up second
  ok "$scenario: and is done by who gets it next" wait_until 20 drained
  recovery_ms=$(($(now_ms) - healed_at))
  judged
}
call() { redis fcall "booking_$1" 1 "$(key inbox)" "${@:2}" >"$T/out"; }

# --- W4

term_with_full_batch() {
  local left
  clean_up
  ctl pause >/dev/null
  fill 2000 -v twice=0
  start_worker full BOOKING_LANES=2 BOOKING_BATCH=64
  wait_until 20 worker_listed full || bail 'the worker does not come up'
  ctl resume >/dev/null
  wait_until 20 ledger_at_least 64
  stop_worker full
  left=$(ctl status --json | jq '.inbox + .ready + .waiting + .retry')
  fired "it was in the middle ($left left)" test "$left" -gt 0
  is "$status" 0 "$scenario: exit 0"
  is "$(depth active)" 0 "$scenario: nothing is held"
  is "$(in_ledger)" $((2000 - left)) "$scenario: what it has finished is settled"
  healed
  finish_with_another
}

term_twice() {
  clean_up
  hold "$busy"
  fill 100
  start_worker hasty BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000 BOOKING_LANES=2 BOOKING_BATCH=16
  wait_until 20 held_at_least 16 || bail 'nothing is held'
  signal_worker hasty TERM
  wait_until 10 grep -q stopping "$T/hasty.log" || bail 'it does not stop'
  fired 'it is in a call that does not end' held_at_least 1
  signal_worker hasty TERM
  wait_exit hasty 10
  is "$status" 0 "$scenario: exit 0"
  is "$(depth active)" 0 "$scenario: nothing is held"
  is "$(most_requeues)" 0 "$scenario: and it was free of charge"
  let_go
  healed
  finish_with_another
}

term_while_open() {
  local began
  begin
  servers pg-stop-fast
  breakers_open
  faults_fired=1
  for name in alice bob; do
    began=$(now_ms)
    stop_worker $name
    is "$status" 0 "$scenario: $name leaves with 0"
    ok "$scenario: at once ($(($(now_ms) - began)) ms)" test $(($(now_ms) - began)) -lt 5000
  done
  http=()
  stream_down
  servers pg-start
  healed
  finish_with_another
}

finish_with_another() {
  start_worker another "${mortal[@]}"
  ok "$scenario: another worker does the rest" wait_until 60 drained
  recovery_ms=$(($(now_ms) - healed_at))
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# --- W5

namesakes() {
  local i older
  clean_up
  fill 6000
  start_worker twin "${mortal[@]}"
  for i in 1 2 3; do
    wait_until 30 ledger_at_least $((i * 300 + RANDOM % 300)) || bail "$scenario: stuck"
    worker_pid[older$i]=${worker_pid[twin]}
    start_worker twin "${mortal[@]}"
    older=older$i
    wait_exit $older 20
    fired "the older one leaves, and says so with 78" test "$status" = 78
  done
  healed
  ok "$scenario: the queue drains" wait_until 60 drained
  recovery_ms=$(($(now_ms) - healed_at))
  is "$(ctl workers --json | jq '[.[] | select(.name == "twin")] | length')" 1 "$scenario: one is listed"
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# --- W6

# The n-th allocation fails, ours or a library's, from the first on: the worker dies of it or lives through it, and what it
# leaves behind is in order. The long form goes on until a whole run passes untouched.
no_memory() {
  local n runs=0 died=0 untouched=0 step
  clean_up
  for ((n = 1; untouched == 0; n += step)); do
    fill 10
    # the start-up is the same each time; behind it chance decides
    step=$((1 + RANDOM % (n / 8 + 16)))
    [ -z "$long" ] || step=$((1 + RANDOM % 8))
    rm -f "$T/alloc"
    # without Kerberos, whose library does not survive it
    start_worker poor "${mortal[@]}" DATABASE_URL="$(worker_database_url)?gssencmode=disable" LD_PRELOAD="$(test_program fault-alloc.so)" FAULT_ALLOC_AT=$n FAULT_ALLOC_LOG="$T/alloc"
    runs=$((runs + 1))
    if wait_until 20 emptied_or_ended poor && ! worker_ended poor; then
      signal_worker poor TERM
    fi
    wait_exit poor 20
    [ "$status" != 124 ] || { ok "$scenario: allocation $n: it ends" false && kill_worker poor; }
    case $status in
      0 | 69 | 70 | 78) ;;
      134) died=$((died + 1)) ;;
      *) is "$status" 'an orderly end or 134' "$scenario: allocation $n" ;;
    esac
    if [ -e "$T/alloc" ]; then faults_fired=$((faults_fired + 1)); else untouched=$n; fi
  done
  diag "$runs runs, $died died; untouched from allocation $untouched on"
  ok "$scenario: $faults_fired allocations failed" test "$faults_fired" -ge 10
  healed
  finish_with_another
}
emptied_or_ended() { worker_ended "$1" || { worker_listed "$1" && drained; }; }

# --- W7

log_closed() {
  local reader
  begin
  mkfifo "$T/pipe"
  exec {reader}<>"$T/pipe"
  LOG=$T/pipe start_worker_logging_to "$T/pipe" carol
  wait_until 20 worker_listed carol || bail 'carol does not come up'
  exec {reader}>&- # nobody reads any more: EPIPE
  signal_worker carol TTIN # has something to say
  servers pg-stop-immediate # and so has everybody
  breakers_open
  servers pg-start
  healed
  recovers
  fired 'carol still runs' kill -0 "${worker_pid[carol]}"
  rm "$T/pipe"
}
start_worker_logging_to() {
  local to=$1 name=$2
  (exec env DATABASE_URL="$(worker_database_url)" BOOKING_WORKER_NAME="$name" BOOKING_HTTP=off BOOKING_LOG_LEVEL=query "${usual[@]}" \
    "$bin/booking-worker") </dev/null >"$to" 2>&1 &
  # shellcheck disable=SC2004 # a name, not arithmetic
  worker_pid[$name]=$!
}

# A log that nobody empties costs lines, not time: the worker goes on, and tells later how many are missing.
log_full() {
  local reader
  begin
  mkfifo "$T/pipe"
  exec {reader}<>"$T/pipe"
  head -c 65536 /dev/zero >&"$reader" # as much as a pipe holds
  start_worker_logging_to "$T/pipe" carol
  wait_until 20 worker_listed carol || bail 'carol does not come up'
  ok "$scenario: carol works" wait_until 20 has_worked carol
  tr -d '\0' <&"$reader" >"$T/carol.log" &
  helper_pid[reader]=$!
  healed
  wait_until 20 lines_lost_are_told || true
  fired "$(grep -o '[0-9]* log lines were lost' "$T/carol.log")" grep -q 'log lines were lost' "$T/carol.log"
  recovers
  stop_worker carol
  is "$status" 0 "$scenario: carol leaves when asked"
  exec {reader}>&-
  kill_helper reader
  rm "$T/pipe"
}
has_worked() { [ "$(sql "select count(*) from booking.command where worker = '$1'")" -gt 0 ]; }
lines_lost_are_told() { signal_worker carol TTIN && grep -q 'log lines were lost' "$T/carol.log"; }

# --- W8

# The process may open no file more, and its connections end: it can't make new ones until it may again.
no_descriptors() {
  local name
  begin
  for name in alice bob; do prlimit --pid "${worker_pid[$name]}" --nofile=4:; done
  sql "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app_worker'" >/dev/null
  fired 'there is no descriptor left' wait_until 30 log_says '[Tt]oo many open files'
  for name in alice bob; do prlimit --pid "${worker_pid[$name]}" --nofile=1024:; done
  healed
  recovers
}

# --- W9

# 50 ms of every 250 are left to one of them.
no_cpu() {
  local until stops=0
  begin BOOKING_LEASE_MS=1500
  until=$(($(now_ms) + 5000))
  while [ "$(now_ms)" -lt $until ]; do
    signal_worker alice STOP
    sleep 0.2 # the fault itself
    signal_worker alice CONT
    sleep 0.05
    stops=$((stops + 1))
  done
  fired "$stops times" test $stops -ge 10
  healed
  recovers
}

scenario W1 killed_at_random 'SIGKILL at random times, 1 to 4 workers'
scenario W2 crash_points 'death at every crash point'
scenario W3 zombie 'SIGSTOP for longer than the lease, then SIGCONT'
scenario W3b zombie_before_sending 'SIGSTOP just before a batch is sent'
scenario W3c settled_by_a_stranger 'a job is settled by who has lost it'
scenario W4 term_with_full_batch 'TERM with a full batch'
scenario W4b term_twice 'TERM twice'
scenario W4c term_while_open 'TERM while the breaker is open'
scenario W5 namesakes 'two workers of one name'
scenario W6 no_memory 'an allocation fails'
scenario W7 log_closed 'the log pipe is closed'
scenario W7b log_full 'the log pipe is full'
scenario W8 no_descriptors 'file descriptors run out'
scenario W9 no_cpu 'CPU taken away'
run_scenarios "$@"
