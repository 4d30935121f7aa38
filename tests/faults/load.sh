#!/usr/bin/env bash
# Too much at once, all of it in one place, bad apples in the batch, and people who press buttons meanwhile.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

# enqueued FILE: as it stands there, journalled
journals=0
enqueued() {
  journals=$((journals + 1))
  ctl enqueue --journal "$T/journal.$journals" "$1" >"$T/out" || bail "$(cat "$T/out")"
}
uuid() { printf '00000000-0000-4000-8000-%012d' "$1"; }
# create ID BOOKING RESOURCE DAY [NOTES] / move ID BOOKING DAY: one line each
create() {
  printf '{"id":"%s","kind":"booking.create","args":{"booking_id":"%s","resource_id":%d,"customer_id":1,' "$1" "$(uuid "$2")" "$3"
  printf '"starts_at":"2031-%02d-%02dT10:00:00Z","ends_at":"2031-%02d-%02dT11:00:00Z"%s}}\n' \
    $((1 + $4 / 28 % 12)) $((1 + $4 % 28)) $((1 + $4 / 28 % 12)) $((1 + $4 % 28)) "${5:+,\"notes\":\"$5\"}"
}
move() {
  printf '{"id":"%s","kind":"booking.reschedule","args":{"booking_id":"%s","starts_at":"2032-%02d-%02dT10:00:00Z","ends_at":"2032-%02d-%02dT11:00:00Z"}}\n' \
    "$1" "$(uuid "$2")" $((1 + $3 / 28 % 12)) $((1 + $3 % 28)) $((1 + $3 / 28 % 12)) $((1 + $3 % 28))
}
done_by() { # done_by SECONDS
  healed
  ok "$scenario: the queue drains" wait_until "$1" drained
  recovery_ms=$(($(now_ms) - healed_at))
}
rss_kb() { awk '/^VmHWM/ { print $2 }' "/proc/${worker_pid[$1]}/status"; }

# --- L1

many() {
  local jobs=30000 name
  [ -z "$long" ] || jobs=1000000
  clean_up
  awk -v n=$jobs -v seed="$seed" -v resources=40 -v prefix=many -f "$root/tests/support/commands.awk" >"$T/many"
  redis config set appendfsync everysec >/dev/null # a million times the disk is not what this is about
  enqueued "$T/many"
  rm "$T/many"
  redis config set appendfsync always >/dev/null
  fired "$(depth inbox) are waiting" test "$(depth inbox)" -ge $jobs
  two_workers BOOKING_BATCH=64
  done_by $((60 + jobs / 1000))
  for name in alice bob; do ok "$scenario: $name took $(rss_kb $name) KiB at the most" test "$(rss_kb $name)" -lt 65536; done
  judged
}

# --- L2, L3

one_key() {
  local n=600 i victim
  clean_up
  { create k0 1 1 1 && for ((i = 1; i < n; i++)); do move k$i 1 $((i + RANDOM % 40)); done; } >"$T/commands"
  two_workers BOOKING_LANES=4 BOOKING_BATCH=16 BOOKING_LEASE_MS=1000 BOOKING_MAX_DELIVERIES=100
  enqueued "$T/commands"
  wait_until 30 ledger_at_least $((50 + RANDOM % 100))
  fired "$(depth waiting) stand in one line" test "$(depth waiting)" -gt 100
  victim=alice
  [ $((RANDOM % 2)) = 0 ] || victim=bob
  kill_worker $victim
  unset "http[$victim]"
  done_by 60
  is "$(sql "select version from booking.booking where id = '$(uuid 1)'")" $n "$scenario: every one was applied"
  judged
}

# Creates and moves that fight for one calendar, through as many lanes as there are; whatever the order, no two may overlap.
one_resource() {
  clean_up
  awk -v n=4000 -v seed="$seed" -v resources=1 -v overlap=60 -v prefix=hot -f "$root/tests/support/commands.awk" >"$T/commands"
  enqueued "$T/commands"
  two_workers BOOKING_LANES=8 BOOKING_BATCH=8
  done_by 120
  fired 'they met' test "$(sql "select count(*) from booking.command where code = 'slot_taken'")" -gt 100
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# --- L4

# A job that the database refuses for good costs its neighbours nothing but time, wherever it stands in the batch.
poison_in_batch() {
  local place i
  clean_up
  sql "create function booking.sour() returns trigger language plpgsql as \$\$ begin
         if new.notes = 'sour' then raise division_by_zero; end if; return new; end \$\$;
       create trigger sour before insert on booking.booking for each row execute function booking.sour()"
  two_workers BOOKING_BATCH=16 BOOKING_LANES=1
  for place in 1 8 16; do
    for ((i = 1; i <= 16; i++)); do
      create "p$place-$i" $((place * 100 + i)) $((1 + RANDOM % 20)) $((place * 16 + i)) "$([ $i != $place ] || echo sour)"
    done >"$T/commands"
    ctl pause >/dev/null
    enqueued "$T/commands"
    ctl resume >/dev/null
    ok "$scenario: place $place: the batch is done" wait_until 30 drained
    fired "place $place: one is dead" test "$(ctl dead list --json | jq -c '[.[] | select(.reason == "database_refused" and .sqlstate == "22012") | .id]' | grep -c "p$place-$place\"")" = 1
    is "$(sql "select count(*) from booking.command where id like 'p$place-%' and outcome = 'applied'")" 15 "$scenario: place $place: the others are applied"
  done
  is "$(metric booking_jobs_retried_total)" 0 "$scenario: no attempt was spent"
  sql 'drop trigger sour on booking.booking; drop function booking.sour'
  done_by 10
  expect_dead=database_refused judged
}

# --- L5

# A job that kills its worker, again and again: it is poison after three deaths, and its neighbours are done all the same.
killer() {
  local deaths=0 i ticket status
  clean_up
  create base 1 1 1 >"$T/commands"
  for ((i = 2; i <= 12; i++)); do create "base$i" $i $i 1; done >>"$T/commands"
  enqueued "$T/commands"
  start_worker first
  wait_until 30 ledger_has base12 || bail 'nothing is done'
  wait_until 30 drained || bail 'nothing is settled'
  stop_worker first
  hold "select from booking.booking where id = '$(uuid 1)' for update"
  move killer 1 5 >"$T/commands"
  for ((i = 2; i <= 12; i++)); do move "near$i" $i 5; done >>"$T/commands"
  enqueued "$T/commands"
  ticket=$(awk '$1 == "ok" { print $3; exit }' "$T/journal.$journals")
  while [ $deaths -lt 5 ]; do
    start_worker "victim$deaths" BOOKING_LEASE_MS=1000 BOOKING_LANES=1 BOOKING_BATCH=16 BOOKING_LOCK_TIMEOUT_MS=20000 \
      BOOKING_STATEMENT_TIMEOUT_MS=21000
    wait_until 20 held_or_dead "$ticket" "victim$deaths" || bail 'nobody takes it'
    is_dead "$ticket" && break
    kill_worker "victim$deaths"
    deaths=$((deaths + 1))
  done
  fired "it has killed $deaths workers" test $deaths = 3
  let_go
  done_by 30
  is "$(ctl dead list --json | jq -c '[.[] | [.id, .reason]]')" '[["killer","poison"]]' "$scenario: and is dead as poison, alone"
  # those that were held with it died as often; but they get their turn before it is too late, alone with their own
  is "$(sql "select count(*) from booking.command where id like 'near%' and outcome = 'applied'")" 11 "$scenario: its neighbours are done"
  expect_dead=poison judged
}
is_dead() { [ -n "$(redis zscore "$(key dead)" "$1")" ]; }
held_or_dead() { # held_or_dead TICKET WORKER
  local who
  is_dead "$1" || { who=$(redis --raw keys "$(key "active:$2@*")") && [ -n "$who" ] && [ "$(redis hexists "$who" "$1")" = 1 ]; }
}

# --- L6

retries_of_the_first() {
  local i
  clean_up
  { create r0 1 1 1 && create other 2 2 1; } >"$T/commands"
  enqueued "$T/commands"
  two_workers BOOKING_LOCK_TIMEOUT_MS=100 BOOKING_RETRIES=0 BOOKING_MAX_ATTEMPTS=50 BOOKING_ATTEMPT_CAP_S=1
  wait_until 30 ledger_has other || bail 'nothing is done'
  wait_until 30 drained || bail 'nothing is settled'
  hold "select from booking.booking where id = '$(uuid 1)' for update"
  { for ((i = 1; i <= 10; i++)); do move r$i 1 $i; done && move o1 2 3; } >"$T/commands"
  enqueued "$T/commands"
  fired 'the first is put off' wait_until 30 depth_is retry 1
  is "$(depth waiting)" 9 "$scenario: nine wait behind it"
  ok "$scenario: strangers do not" wait_until 20 ledger_has o1
  let_go
  done_by 60
  is "$(sql "select string_agg(id, ' ' order by version) from booking.command where booking_id = '$(uuid 1)'")" \
    'r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10' "$scenario: then each in its turn"
  judged
}

# --- L7

# A dead letter is brought back when its booking has moved on: it takes its place at the end of the line, and is judged by
# what it finds there; if it had been applied before it died, it has its effect no second time.
revived() {
  local i tickets
  clean_up
  for ((i = 1; i <= 20; i++)); do create c$i $i $i 1; done >"$T/commands"
  enqueued "$T/commands"
  two_workers BOOKING_LOCK_TIMEOUT_MS=100 BOOKING_RETRIES=0 BOOKING_MAX_ATTEMPTS=1
  wait_until 30 drained || bail 'nothing is done'
  hold 'select from booking.booking for update'
  for ((i = 1; i <= 20; i++)); do move d$i $i 5; done >"$T/commands"
  enqueued "$T/commands"
  fired 'they die' wait_until 60 depth_is dead 20
  let_go
  # the web tier goes on with the same bookings, an admin brings the dead back meanwhile
  for ((i = 1; i <= 20; i++)); do
    [ $((RANDOM % 2)) = 0 ] || printf '{"id":"x%d","kind":"booking.cancel","args":{"booking_id":"%s"}}\n' $i "$(uuid $i)"
    move e$i $i 9
  done >"$T/commands"
  enqueued "$T/commands"
  mapfile -t tickets < <(ctl dead list --json | jq -r '.[].ticket' | shuf --random-source=<(yes "$seed"))
  ctl dead retry --yes "${tickets[@]:0:10}" >"$T/out" || bail "$(cat "$T/out")"
  ctl dead retry --yes --all >"$T/out" || bail "$(cat "$T/out")"
  done_by 60
  is "$(depth dead)" 0 "$scenario: none is dead any more"
  is "$(sql "select count(*) from booking.command where id ~ '^[de]'")" 40 "$scenario: each has been judged"
  is "$(sql "select count(*) from booking.command c join booking.command x on x.booking_id = c.booking_id and x.kind = 'booking.cancel'
    and x.applied_at < c.applied_at where c.outcome = 'applied' and c.kind <> 'booking.cancel' and x.outcome = 'applied'
    and c.version > x.version")" 0 "$scenario: none moved what had been cancelled"
  judged
}

# --- L8

# Every command comes two to four times, in any order; a worker dies meanwhile.
duplicates() {
  local distinct
  clean_up
  awk -v n=1500 -v seed="$seed" -v resources=40 -v twice=0 -v prefix=dup -f "$root/tests/support/commands.awk" >"$T/once"
  { cat "$T/once" "$T/once" && shuf -n 1500 --random-source=<(yes "$seed") "$T/once"; } | shuf --random-source=<(yes "$seed") >"$T/commands"
  distinct=$(wc -l <"$T/once")
  enqueued "$T/commands"
  two_workers BOOKING_LEASE_MS=1000 BOOKING_MAX_DELIVERIES=100
  wait_until 30 ledger_at_least 400
  kill_worker bob
  unset 'http[bob]'
  done_by 60
  fired 'they were met again' test "$(sql 'select count(*) from booking.command where deliveries > 1')" -gt 1000
  is "$(sql 'select count(*) from booking.command')" "$distinct" "$scenario: one row for each id"
  judged
}

scenario L1 many 'very many waiting'
scenario L2 one_key 'all jobs of one key'
scenario L3 one_resource 'all jobs on one resource'
scenario L4 poison_in_batch 'a poison job at the first, middle and last place'
scenario L5 killer 'a job that kills its worker'
scenario L6 retries_of_the_first 'the first of a key is retried, nine wait'
scenario L7 revived 'dead letters retried, the booking has moved on'
scenario L8 duplicates 'duplicates of every job, shuffled'
run_scenarios "$@"
