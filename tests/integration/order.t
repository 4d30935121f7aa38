#!/usr/bin/env bash
# Jobs of one key are applied one at a time and in inbox order, whatever happens to the first of them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
migrate

booking=00000000-0000-4000-8000-0000000000aa
other=00000000-0000-4000-8000-0000000000bb
create() {
  printf '{"id":"%s","kind":"booking.create","args":{"booking_id":"%s","resource_id":%d,"customer_id":1,' "$1" "$2" "$3"
  printf '"starts_at":"2031-01-01T10:00:00Z","ends_at":"2031-01-01T11:00:00Z"}}\n'
}
move() { # move ID BOOKING DAY: to that day of 2031-03
  printf '{"id":"%s","kind":"booking.reschedule","args":{"booking_id":"%s","starts_at":"2031-03-%02dT10:00:00Z",' "$1" "$2" "$3"
  printf '"ends_at":"2031-03-%02dT11:00:00Z"}}\n' "$3"
}
moves() { # moves FIRST LAST BOOKING
  local i
  for ((i = $1; i <= $2; i++)); do move "m$i" "$3" $((1 + i % 28)); done
}

# --- all jobs of one key, through three workers
for w in a b c; do worker_up $w BOOKING_LANES=3 BOOKING_BATCH=16; done
{ create k1 $booking 1 && moves 1 400 $booking; } >"$T/commands"
is "$(exit_code ctl enqueue --journal "$T/journal.1" "$T/commands")" 0 '401 commands of one key'
ok 'are done' wait_until 60 drained
is "$(sql "select version from booking.booking where id = '$booking'")" 401 'all of them'
is "$(sql "select count(*) from (select version, row_number() over (order by split_part(ticket, '-', 1)::numeric,
  split_part(ticket, '-', 2)::numeric) n from booking.command where booking_id = '$booking') x where version <> n")" 0 'in inbox order'
ok 'says the judge too' judge "$T/journal.1"
for w in a b c; do stop_worker $w; done

# --- the first one is refused by a lock and goes to the retries; those behind it wait, and strangers do not
worker_up d BOOKING_LOCK_TIMEOUT_MS=100 BOOKING_RETRIES=0 BOOKING_MAX_ATTEMPTS=50 BOOKING_ATTEMPT_CAP_S=1
hold "select from booking.booking where id = '$booking' for update"
moves 501 510 $booking >"$T/commands"
is "$(exit_code ctl enqueue --journal "$T/journal.2" "$T/commands")" 0 'ten more, while somebody holds the booking'
ok 'the first one is put off' wait_until 40 depth_is retry 1
create o1 $other 2 >"$T/stranger"
is "$(exit_code ctl enqueue --journal "$T/journal.3" "$T/stranger")" 0 'a job of another key'
ok 'is done meanwhile' wait_until 20 ledger_has o1
waiting=$(depth waiting)
is "$waiting" 9 'nine wait in line'
is "$(redis hget "$(key gate)" $booking)" 10 'the gate knows of ten'
let_go
ok 'then all are done' wait_until 60 drained
ok 'in order, says the judge' judge "$T"/journal.*
is "$(sql "select count(*) from booking.command where outcome = 'applied'")" 412 'every one of them applied'

# --- a confirm that comes before its create is judged by what it finds
third=00000000-0000-4000-8000-0000000000cc
{
  printf '{"id":"e1","kind":"booking.confirm","args":{"booking_id":"%s"}}\n' $third
  create e2 $third 3
  printf '{"id":"e3","kind":"booking.confirm","args":{"booking_id":"%s"}}\n' $third
} >"$T/commands"
is "$(exit_code ctl enqueue --journal "$T/journal.4" "$T/commands")" 0 'confirm, create, confirm'
ok 'are done' wait_until 20 drained
is "$(sql "select string_agg(concat_ws(':', id, outcome, nullif(code, '')), ' ' order by id) from booking.command where id ~ '^e'")" \
  'e1:rejected:unknown_booking e2:applied e3:applied' 'each in its turn'
ok 'the judge finds nothing' judge "$T"/journal.*
stop_worker d
is "$status" 0 'the worker leaves'
done_testing
