#!/usr/bin/env bash
# The judge is judged: an honest history passes, and each kind of wrong, made up by hand, is found and named.
# Needs the servers but none of the programs: the tables here have no constraints, so that anything can be written into them.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up

sql "create schema booking;
     create table booking.booking (id uuid, resource_id bigint, customer_id bigint, during tstzrange, status text, version int,
                                   notes text, created_at timestamptz, updated_at timestamptz);
     create table booking.command (id text, ticket text, kind text, booking_id uuid, fingerprint text, outcome text, code text,
                                   version int, deliveries int, enqueued_at timestamptz, applied_at timestamptz, worker text,
                                   traceparent text);"

b1=00000000-0000-4000-8000-000000000001
b2=00000000-0000-4000-8000-000000000002
create() { # create ID BOOKING START-HOUR [MORE]
  printf '{"id":"%s","kind":"booking.create","args":{"booking_id":"%s","resource_id":1,"customer_id":5,' "$1" "$2"
  printf '"starts_at":"2030-01-01T%s:00:00Z","ends_at":"2030-01-01T%s:30:00Z"}%s}' "$3" "$3" "${4:-}"
}
confirm() { printf '{"id":"%s","kind":"booking.confirm","args":{"booking_id":"%s"}%s}' "$1" "$2" "${3:-}"; }

# journal STATE LINE TICKET JSON
journal() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$T/journal"; }

# row ID TICKET KIND BOOKING OUTCOME CODE VERSION SECOND, booking ID STATUS VERSION RANGE: rows as SQL
row() {
  echo "insert into booking.command values ('$1', '$2', 'booking.$3', '$4', 'f', '$5', nullif('$6', ''), nullif('$7', '')::int, 1,
    '2029-01-01 00:00:00Z', '2029-01-01 00:00:00Z'::timestamptz + $8 * interval '1 s', 'w');"
}
booking() { echo "insert into booking.booking values ('$1', 1, 5, $4, '$2', $3, null, now(), now());"; }
hour() { echo "tstzrange('2030-01-01 $1:00Z', '2030-01-01 $1:30Z')"; }
job() { # job TICKET ID REASON: its hash
  redis hset "$(key "job:$1")" id "$2" kind booking.create key k reason "$3" >/dev/null
}

# An honest history: two creates, a confirm, a repeat, a rejected one, a dead letter, one of unknown fate, one that failed.
honest() {
  redis flushall >/dev/null
  : >"$T/journal"
  journal try 1 - "$(create c1 $b1 10)"
  journal ok 1 1000-0 "$(create c1 $b1 10)"
  journal ok 2 1000-1 "$(confirm c2 $b1)"
  journal ok 3 1001-0 "$(create c3 $b2 11)"
  journal ok 4 1002-0 "$(create c1 $b1 10)"
  journal ok 5 1003-0 "$(confirm c5 $b1)"
  journal ok 6 1004-0 '{"id":"c6","kind":"booking.nonsense","args":{}}'
  journal unknown 7 - "$(confirm c7 $b2)"
  journal fail 8 - "$(confirm c8 $b2)"
  journal try 9 - "$(confirm c9 $b2)"
  sql "truncate booking.booking, booking.command;
    $(row c1 1000-0 create $b1 applied '' 1 1)
    $(row c2 1000-1 confirm $b1 applied '' 2 2)
    $(row c3 1001-0 create $b2 applied '' 1 2)
    $(row c5 1003-0 confirm $b1 rejected not_pending '' 3)
    $(row c7 1005-0 confirm $b2 applied '' 2 4)
    $(booking $b1 confirmed 2 "$(hour 10)")
    $(booking $b2 confirmed 2 "$(hour 11)")"
  redis zadd "$(key dead)" 1 1004-0 >/dev/null
  job 1004-0 c6 unknown_kind
}

# verdict: the counts that are not zero, as "wrong=n ..."
verdict() {
  local code=0
  "$root/tests/support/judge" --json "$T/journal" >"$T/json" 2>"$T/err" || code=$?
  [ $code -le 1 ] || { echo "exit $code: $(cat "$T/err")" && return; }
  jq -r --arg code $code '[.counts | to_entries[] | select(.value > 0) | "\(.key)=\(.value)"] + ["exit=" + $code] | join(" ")' "$T/json"
}

honest
is "$(verdict)" 'exit=0' 'an honest history is clean'
is "$(jq -c '[.sent.ok, .sent.fail, .sent.unknown, .applied, .rejected, .dead]' "$T/json")" '[6,1,2,4,1,1]' 'and is counted right'
ok 'the table is for people' judge "$T/journal"
like "$(cat "$T/verdict")" 'verdict +clean' 'and says so'

sql "update booking.command set id = 'x' where id = 'c3'"
is "$(verdict)" 'lost=1 unexpected=1 exit=1' 'an acknowledged command that is nowhere is lost, one nobody sent is unexpected'

honest
sql "delete from booking.command where id = 'c5'"
is "$(verdict)" 'lost=1 exit=1' 'lost: a rejected one counts as well'

honest
redis del "$(key dead)" "$(key job:1004-0)" >/dev/null
is "$(verdict)" 'lost=1 exit=1' 'lost: a dead letter that is gone'
redis xadd "$(key audit)" '*' who me what drop tickets 1004-0 >/dev/null
is "$(verdict)" 'exit=0' 'unless an admin dropped it'

honest
sql "delete from booking.booking where id = '$b2'"
is "$(verdict)" 'lost=1 exit=1' 'lost: applied, says the ledger, but there is no booking'

honest
sql "update booking.booking set version = 3 where id = '$b1'"
is "$(verdict)" 'duplicated=1 exit=1' 'duplicated: one effect more than the ledger has'

honest
sql "update booking.booking set version = 1 where id = '$b1'"
is "$(verdict)" 'lost=1 exit=1' 'lost: one effect less than the ledger has'

honest
sql "$(row c2 1000-1 confirm $b1 rejected not_pending '' 3)"
is "$(verdict)" 'duplicated=1 exit=1' 'duplicated: an id twice in the ledger'

honest
sql "$(row c8 1006-0 confirm $b2 rejected not_pending '' 5)"
is "$(verdict)" 'unexpected=1 exit=1' 'unexpected: the effect of one that failed'

honest
sql "update booking.command set ticket = '1001-9' where id = 'c3'"
is "$(verdict)" 'unexpected=1 exit=1' 'unexpected: a ticket that no sending got'

honest
sql "$(booking 00000000-0000-4000-8000-000000000003 cancelled 1 "$(hour 12)")"
is "$(verdict)" 'unexpected=1 exit=1' 'unexpected: a booking without a create'

honest
sql "update booking.booking set status = 'cancelled' where id = '$b1'"
is "$(verdict)" 'unexpected=1 exit=1' 'unexpected: a status no command asked for'

honest
sql "update booking.booking set during = $(hour 15) where id = '$b1'"
is "$(verdict)" 'unexpected=1 exit=1' 'unexpected: a time no command asked for'

honest
sql "update booking.command set kind = 'booking.complete' where id = 'c5'"
is "$(verdict)" 'unexpected=1 exit=1' 'unexpected: another kind than was asked for'

honest
journal ok 10 1010-0 "$(create c1 $b1 16)"
is "$(verdict)" 'lost=1 exit=1' 'the same id with other contents must be a dead letter'
redis zadd "$(key dead)" 1 1010-0 >/dev/null
job 1010-0 c1 id_reused
is "$(verdict)" 'exit=0' 'and as one it is right'

honest
sql "update booking.command set ticket = case id when 'c1' then '1000-1' else '1000-0' end where id in ('c1', 'c2')"
sed -i -e '/"c2"/s/1000-1/1000-0/' -e '/"c1"/s/1000-0/1000-1/' "$T/journal"
like "$(verdict)" '^misordered=2 exit=1$' 'misordered: versions against the order of the inbox'

honest
sql "update booking.command set applied_at = '2029-01-01 00:00:01.5Z' where id = 'c5'"
is "$(verdict)" 'misordered=1 exit=1' 'misordered: a rejected one that was judged too early'
journal ok 5 1003-0 "$(confirm c5 $b1 ',"not_before":5')"
sed -i "/^ok\t5\t/{/not_before/!d}" "$T/journal"
is "$(verdict)" 'exit=0' 'unless it was to wait'

honest
sql "update booking.booking set version = 3 where id = '$b1'; update booking.command set version = 3 where id = 'c2'"
like "$(verdict)" 'exit=1$' 'versions must be dense'

honest
sql "update booking.booking set during = $(hour 10) where id = '$b2'"
sed -i '/"c3"/s/T11:/T10:/g' "$T/journal"
is "$(verdict)" 'double_booked=1 exit=1' 'double-booked: two active bookings at one time'
sql "update booking.booking set resource_id = 2 where id = '$b2'"
is "$(verdict)" 'exit=0' 'but not on two resources'

for range in 'null' "'empty'" "tstzrange('2030-01-01 11:00Z', null)" "tstzrange('-infinity', '2030-01-01 11:30Z')"; do
  honest
  sql "update booking.booking set during = $range where id = '$b2'"
  like "$(verdict)" 'double_booked=[12] .*exit=1$' "double-booked: a row that no overlap check sees: $range"
done

honest
redis rpush "$(key ready)" 1004-0 >/dev/null
is "$(verdict)" 'stranded=1 left_behind=1 exit=1' 'stranded: a ticket in two places'

honest
job 1007-0 c7 ''
is "$(verdict)" 'stranded=1 exit=1' 'stranded: a job in no place'

honest
redis rpush "$(key ready)" 1007-0 >/dev/null
is "$(verdict)" 'stranded=1 left_behind=1 exit=1' 'stranded: a ticket without its job'

honest
redis hset "$(key gate)" k 1 >/dev/null
is "$(verdict)" 'stranded=1 exit=1' 'stranded: a gate without a holder'

honest
redis rpush "$(key line:k)" 1007-0 >/dev/null
job 1007-0 c7 ''
is "$(verdict)" 'stranded=1 left_behind=1 exit=1' 'stranded: a line behind no gate'

honest
redis hset "$(key active:w1)" 1007-0 1 >/dev/null
redis hset "$(key gate)" k 1 >/dev/null
redis zadd "$(key workers)" 1000 w1 >/dev/null
job 1007-0 c7 ''
is "$(verdict)" 'stranded=1 left_behind=1 exit=1' 'stranded: held by a worker whose lease is over'
redis zadd "$(key workers)" 99999999999999 w1 >/dev/null
is "$(verdict)" 'left_behind=1 exit=1' 'held by one who lives it is only left behind'

honest
redis xadd "$(key inbox)" '*' id late >/dev/null
is "$(verdict)" 'left_behind=1 exit=1' 'left behind: the inbox is not empty'

honest
hold 'select 1'
second_ago() { sql "select 1 / count(*) from pg_stat_activity where state = 'idle in transaction' and state_change < clock_timestamp() - interval '1.1 s'"; }
ok 'a session idles in its transaction' wait_until 10 second_ago
is "$(verdict)" 'stranded=1 exit=1' 'stranded: a backend idle in transaction'
let_go

for reason in circuit_open poison too_many_attempts database_refused '' invalid_args expired; do
  honest
  journal ok 11 1011-0 "$(create c11 $b2 18)"
  redis zadd "$(key dead)" 1 1011-0 >/dev/null
  job 1011-0 c11 "$reason"
  is "$(verdict)" 'wrongly_dead=1 exit=1' "wrongly dead: ${reason:-no reason}"
done
honest
journal ok 11 1011-0 "$(create c11 $b2 18)"
redis zadd "$(key dead)" 1 1011-0 >/dev/null
job 1011-0 c11 poison
is "$(exit_code "$root/tests/support/judge" --expect-dead circuit_open,poison "$T/journal")" 0 'unless it is expected'

honest
journal ok 11 1011-0 '{"id":"c11","kind":"booking.confirm","args":{"booking_id":"no uuid"}}'
redis zadd "$(key dead)" 1 1011-0 >/dev/null
job 1011-0 c11 invalid_args
is "$(verdict)" 'exit=0' 'an ill-formed command is rightly dead'

honest
sed -i 's/^ok/unknown/' "$T/journal"
is "$(verdict)" 'exit=1' 'nothing acknowledged proves nothing'
like "$(exit_code "$root/tests/support/judge" "$T/journal"; cat "$T/out")" 'nothing was sent' 'and the judge says why'

echo 'so what' >>"$T/journal"
is "$(exit_code "$root/tests/support/judge" "$T/journal")" 65 'a journal that is none: 65'
is "$(exit_code "$root/tests/support/judge")" 64 'no journal: 64'
is "$(REDIS_URL=redis://127.0.0.1:1 exit_code "$root/tests/support/judge" "$T/journal")" 69 'no Redis: 69'

done_testing
