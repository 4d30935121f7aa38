#!/usr/bin/env bash
# Every command through the whole chain, as the web tier, ops and admins see it: XADD or enqueue, the reply, the ledger,
# dead letters with their reasons, the verbs of bookingctl, exit codes.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
migrate

b() { printf '00000000-0000-4000-8000-%012d' "$1"; }
slot() { printf '"starts_at":"2032-05-%02dT10:00:00Z","ends_at":"2032-05-%02dT11:00:00Z"' "$1" "$1"; }

# xadd FIELD VALUE...: as any client would; prints the ticket
xadd() { redis xadd "$(key inbox)" '*' "$@"; }

# reply ID: the final outcome of a job that was sent with reply 1
reply() { redis --raw blpop "$(key "reply:$1")" 15 | tail -n 1; }

# ask ID KIND BOOKING MEMBERS: sends, waits for the reply, and tells it as "outcome code version"
ask() {
  xadd id "$1" kind "booking.$2" key "$(b "$3")" args "{\"booking_id\":\"$(b "$3")\"${4:+,$4}}" reply 1 >/dev/null
  reply "$1" | jq -r '[.outcome, .code, .version] | map(. // "-") | join(" ")'
}

dead_reason() { ctl dead list --json | jq -er --arg t "$1" '.[] | select(.ticket == $t) | .reason'; }
dead_is() { [ "$(dead_reason "$1")" = "$2" ]; }

worker_up w1 BOOKING_LOG_LEVEL=query

# --- each kind, applied
full="\"resource_id\":1,\"customer_id\":7,$(slot 1)"
is "$(ask a1 create 1 "$full,\"notes\":\"by the window\"")" 'applied - 1' 'create'
is "$(ask a2 confirm 1)" 'applied - 2' 'confirm'
is "$(ask a3 reschedule 1 "$(slot 2),\"resource_id\":2")" 'applied - 3' 'reschedule'
is "$(ask a4 complete 1 '"expected_version":3')" 'applied - 4' 'complete'
is "$(ask a5 create 2 "$full")" 'applied - 1' 'create another where the first one was'
is "$(ask a6 cancel 2 '"reason":"rain"')" 'applied - 2' 'cancel'
is "$(sql "select concat_ws(' ', resource_id, customer_id, during, status, version, notes) from booking.booking where id = '$(b 1)'")" \
  '2 7 ["2032-05-02 10:00:00+00","2032-05-02 11:00:00+00") completed 4 by the window' 'the booking is what the commands made of it'
is "$(sql "select string_agg(concat_ws(':', id, kind, outcome, version), ' ' order by id) from booking.command where booking_id = '$(b 1)'")" \
  'a1:booking.create:applied:1 a2:booking.confirm:applied:2 a3:booking.reschedule:applied:3 a4:booking.complete:applied:4' \
  'the ledger is its history'
is "$(xadd id r1 kind booking.confirm key "$(b 2)" args "{\"booking_id\":\"$(b 2)\"}" reply 1 >/dev/null; reply r1 | jq -Sc .)" \
  "{\"booking_id\":\"$(b 2)\",\"code\":\"not_pending\",\"id\":\"r1\",\"outcome\":\"rejected\",\"version\":2}" 'the reply in full'
xadd id r2 kind booking.confirm key "$(b 2)" args "{\"booking_id\":\"$(b 2)\"}" reply 1 >/dev/null
reply_waits() { [ "$(redis exists "$(key "reply:$1")")" = 1 ]; }
ok 'a reply waits for its reader' wait_until 15 reply_waits r2
like "$(redis ttl "$(key reply:r2)")" '^(300|29[0-9])$' 'for 300 s'

# --- each refusal
is "$(ask p1 create 10 "$full")" 'applied - 1' '(a pending booking)'
is "$(ask n1 create 11 "$full")" 'rejected slot_taken -' 'create: slot_taken'
is "$(ask n2 create 11 "\"resource_id\":98,\"customer_id\":7,$(slot 3)")" 'rejected unknown_resource -' 'create: unknown_resource'
is "$(ask n3 create 11 "\"resource_id\":99,\"customer_id\":7,$(slot 3)")" 'rejected unknown_resource -' 'an inactive resource is unknown'
like "$(ask n4 create 10 "\"resource_id\":3,\"customer_id\":7,$(slot 3)")" '^rejected booking_exists' 'create: booking_exists'
is "$(ask n5 confirm 12)" 'rejected unknown_booking -' 'confirm: unknown_booking'
like "$(ask n6 confirm 10 '"expected_version":9')" '^rejected version_conflict' 'confirm: version_conflict'
like "$(ask n7 complete 10)" '^rejected not_confirmed' 'complete: not_confirmed'
is "$(ask n8 complete 12)" 'rejected unknown_booking -' 'complete: unknown_booking'
is "$(ask p2 create 13 "\"resource_id\":4,\"customer_id\":7,$(slot 3)")" 'applied - 1' '(another)'
like "$(ask n9 reschedule 13 "\"resource_id\":1,$(slot 1)")" '^rejected slot_taken' 'reschedule: slot_taken'
like "$(ask n10 reschedule 13 "\"resource_id\":98,$(slot 1)")" '^rejected unknown_resource' 'reschedule: unknown_resource'
like "$(ask n11 reschedule 2 "$(slot 4)")" '^rejected not_active' 'reschedule: not_active'
like "$(ask n12 reschedule 13 "$(slot 4),\"expected_version\":7")" '^rejected version_conflict' 'reschedule: version_conflict'
is "$(ask n13 reschedule 12 "$(slot 4)")" 'rejected unknown_booking -' 'reschedule: unknown_booking'
like "$(ask n14 cancel 2)" '^rejected not_active' 'cancel: not_active'
is "$(ask n15 cancel 12)" 'rejected unknown_booking -' 'cancel: unknown_booking'
like "$(ask n16 cancel 13 '"expected_version":7')" '^rejected version_conflict' 'cancel: version_conflict'
is "$(sql "select count(*) from booking.command where outcome = 'rejected' and code is null")" 0 'each with its code in the ledger'
is "$(depth dead)" 0 'a refusal is no dead letter'

# --- the same command twice; its members in another order and with other blanks
is "$(ask a1 create 1 "$full,\"notes\":\"by the window\"")" 'applied - 1' 'a repeat gets the first outcome'
is "$(ask a1 create 1 " \"notes\" : \"by the window\",$(slot 1), \"customer_id\":7,\"resource_id\":1")" 'applied - 1' 'compared as JSON'
is "$(sql "select version from booking.booking where id = '$(b 1)'")" 4 'and has no second effect'
is "$(sql "select count(*) from booking.command where id = 'a1'")" 1 'one row in the ledger'

# --- dead letters: NAME REASON ERROR-NAMES FIELD VALUE...
dead_letter() {
  local name=$1 reason=$2 names=$3 ticket
  shift 3
  ticket=$(xadd "$@")
  if wait_until 15 dead_is "$ticket" "$reason"; then
    like "$(ctl dead show "$ticket" --json | jq -r .error)" "$names" "$reason: $name"
  else
    is "$(dead_reason "$ticket" || true)" "$reason" "$reason: $name"
  fi
}
args="{\"booking_id\":\"$(b 20)\"}"
entry=(id d1 kind booking.confirm key "$(b 20)" args "$args")
now=$(now_ms)
dead_letter 'no id' malformed id kind booking.confirm key "$(b 20)" args "$args"
dead_letter 'no args' malformed args id d2 kind booking.confirm key "$(b 20)"
dead_letter 'a field twice' malformed kind "${entry[@]}" kind booking.confirm
dead_letter 'an unknown field' malformed colour "${entry[@]}" colour red
dead_letter 'an id with a blank' malformed id id 'd 3' kind booking.confirm key "$(b 20)" args "$args"
dead_letter 'an id of 129' malformed id id "$(printf '%0129d' 1)" kind booking.confirm key "$(b 20)" args "$args"
dead_letter 'a key of 129' malformed key id d4 kind booking.confirm key "$(printf '%0129d' 1)" args "$args"
dead_letter 'not_before is no number' malformed not_before "${entry[@]}" not_before soon
dead_letter 'expires_at is no number' malformed expires_at "${entry[@]}" expires_at -1
dead_letter 'reply is neither' malformed reply "${entry[@]}" reply yes
dead_letter 'a kind nobody knows' unknown_kind kind id d5 kind booking.teleport key "$(b 20)" args "$args"
dead_letter 'an empty kind' unknown_kind kind id d6 kind '' key "$(b 20)" args "$args"
dead_letter 'no JSON' invalid_args args id d7 kind booking.confirm key "$(b 20)" args '{"booking_id":'
dead_letter 'a member twice' invalid_args booking_id id d8 kind booking.confirm key "$(b 20)" args "${args%\}},${args#\{}"
dead_letter 'an unknown member' invalid_args colour id d9 kind booking.confirm key "$(b 20)" args "${args%\}},\"colour\":1}"
dead_letter 'a key of another booking' invalid_args key id d10 kind booking.confirm key "$(b 21)" args "$args"
dead_letter 'a missing member' invalid_args starts_at id d11 kind booking.reschedule key "$(b 20)" args "$args"
dead_letter 'February 30' invalid_args starts_at id d12 kind booking.reschedule key "$(b 20)" \
  args "${args%\}},\"starts_at\":\"2030-02-30T10:00:00Z\",\"ends_at\":\"2030-03-01T10:00:00Z\"}"
dead_letter 'an end before the start' invalid_args 'ends_at|starts_at' id d13 kind booking.reschedule key "$(b 20)" \
  args "${args%\}},\"starts_at\":\"2030-02-20T10:00:00Z\",\"ends_at\":\"2030-02-20T09:00:00Z\"}"
dead_letter 'the time is over' expired expires_at id d14 kind booking.confirm key "$(b 10)" args "{\"booking_id\":\"$(b 10)\"}" \
  expires_at $((now - 1000))
dead_letter 'the same id, other contents' id_reused id id a2 kind booking.cancel key "$(b 1)" args "{\"booking_id\":\"$(b 1)\"}"
is "$(sql "select status || version from booking.booking where id = '$(b 10)'")" pending1 'none of them had an effect'
deads=$(depth dead)
is "$(ctl dead list --json | jq length)" "$deads" 'dead list has them all'
is "$(ctl dead list --json --reason unknown_kind | jq length)" 2 'or those of one reason'
is "$(ctl dead list --json | jq '[.[] | select((.ticket, .reason, .error) == null)] | length')" 0 'each with ticket, reason, error'
ticket=$(ctl dead list --json --reason unknown_kind | jq -r '.[] | select(.id == "d5") | .ticket')
is "$(ctl dead show "$ticket" --json | jq -r .args)" "$args" 'dead show has the args to the byte'
xadd id d15 kind booking.none key k args '{}' reply 1 >/dev/null
is "$(reply d15 | jq -r '[.id, .outcome, .code] | join(" ")')" 'd15 dead unknown_kind' 'who waits for a reply hears of it'
is "$(exit_code ctl dead drop "$ticket" --dry-run)" 0 'dead drop --dry-run'
is "$(depth dead)" $((deads + 1)) 'drops nothing'
is "$(exit_code ctl dead drop "$ticket" --yes)" 0 'dead drop'
is "$(depth dead)" "$deads" 'drops one'
like "$(ctl audit --json)" "$ticket" 'and the audit tells'

# --- a dead letter that is retried
late=$(ctl dead list --json --reason unknown_kind | jq -r '.[0].ticket')
is "$(exit_code ctl dead retry "$late")" 0 'dead retry'
died_again() { dead_is "$late" unknown_kind && drained; }
ok 'of a hopeless one: dead again' wait_until 15 died_again

# --- not_before
due=$(($(now_ms) + 1500))
xadd id t1 kind booking.confirm key "$(b 13)" args "{\"booking_id\":\"$(b 13)\"}" not_before $due >/dev/null
ok 'not_before: scheduled' wait_until 5 depth_is scheduled 1
ok 'and done later' wait_until 15 ledger_has t1
is "$(sql "select extract(epoch from applied_at) * 1000 >= $due from booking.command where id = 't1'")" t 'not before its time'
is "$(ask t2 cancel 13 '"reason":"x"')" 'applied - 3' '(a cancel)'

# --- traceparent
trace=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
xadd id tr1 kind booking.confirm key "$(b 12)" args "{\"booking_id\":\"$(b 12)\"}" traceparent $trace reply 1 >/dev/null
reply tr1 >/dev/null
is "$(sql "select traceparent from booking.command where id = 'tr1'")" $trace 'traceparent is in the ledger'
ok 'and in the log' grep -q 4bf92f3577b34da6a3ce929d0e0e4736 "$T/w1.log"
xadd id tr2 kind booking.confirm key "$(b 12)" args "{\"booking_id\":\"$(b 12)\"}" traceparent nonsense reply 1 >/dev/null
is "$(reply tr2 | jq -r .code)" unknown_booking 'an ill-formed one costs nothing'

# --- enqueue
printf '%s\n' "{\"id\":\"q1\",\"kind\":\"booking.confirm\",\"args\":{\"booking_id\":\"$(b 12)\"},\"reply\":1}" 'so what' \
  "{\"id\":\"q2\",\"kind\":\"booking.confirm\",\"key\":\"$(b 12)\",\"args\":{\"booking_id\":\"$(b 12)\"}}" >"$T/lines"
is "$(exit_code ctl enqueue --journal "$T/journal" "$T/lines")" 65 'enqueue: 65 if a line was refused'
like "$(tail -n 1 "$T/out")" '^enqueued 2, refused 1$' 'it counts'
like "$(cat "$T/err")" '2' 'and names the line'
is "$(grep -c '^ok' "$T/journal")" 2 'the journal has both'
is "$(reply q1 | jq -r .code)" unknown_booking 'the key was the booking'
is "$(exit_code ctl enqueue - <"$T/lines")" 65 'from a pipe as well'
like "$(exit_code ctl enqueue "$T/none")" '^6[56]$' 'no such file is bad input'

# --- pause and resume
is "$(exit_code ctl pause)" 0 'pause'
is "$(ctl status --json | jq .paused)" true 'is in the status'
ok '(what was taken is done)' wait_until 15 depth_is active 0
xadd id z1 kind booking.confirm key "$(b 12)" args "{\"booking_id\":\"$(b 12)\"}" reply 1 >/dev/null
is "$(depth inbox)" 1 'enqueuing goes on'
like "$(ctl job z1 --json)" 'inbox' 'job tells where it is'
is "$(exit_code ctl resume)" 0 'resume'
is "$(reply z1 | jq -r .code)" unknown_booking 'and it runs'
like "$(ctl job z1 --json)" 'rejected' 'job tells what became of it'
is "$(exit_code ctl job z1)" 0 'for people as well'
ok 'all done' wait_until 20 drained

# --- what is shown
is "$(ctl status --json | jq -r '[.queue, .paused, .inbox, .ready, .waiting, .active, .scheduled, .retry] | map(tostring) | join(" ")')" \
  'booking false 0 0 0 0 0 0' 'status --json'
is "$(ctl status --json | jq -r '.workers[0] | [.name, (.state | type), (.breaker | type), (.pool | type)] | join(" ")')" \
  'w1 string string object' 'with its workers'
is "$(ctl workers --json | jq -r '.[].name')" w1 'workers --json'
for verb in status workers audit 'dead list' doctor; do
  # shellcheck disable=SC2086 # two words are two
  code=$(exit_code ctl $verb)
  if [ "$verb" = doctor ]; then like "$code" '^(0|69)$' doctor; else is "$code" 0 "$verb"; fi
done

# --- exit codes and help
for program in booking-worker bookingctl booking-admin; do
  [ -x "$bin/$program" ] || continue
  is "$(exit_code "$bin/$program" --help; wc -c <"$T/err")" $'0\n0' "$program --help: to stdout, 0"
  is "$(exit_code "$bin/$program" --version)" 0 "$program --version: 0"
  like "$(cat "$T/out")" "^$program [0-9]+\.[0-9]+\.[0-9]+ \(libpq [0-9.]+.*hiredis [0-9.]+" "$program --version names its libraries"
  is "$(exit_code "$bin/$program" --nonsense; wc -l <"$T/err")" $'64\n1' "$program --nonsense: one line, 64"
  like "$(cat "$T/err")" 'nonsense' 'which names it'
done
is "$(exit_code ctl nonsense)" 64 'an unknown verb: 64'
like "$(cat "$T/err")" 'nonsense' 'named'
code=$(exit_code env -u REDIS_URL DATABASE_URL=postgresql://u:hunter2@nowhere:x/y BOOKING_LANES=many BOOKING_BATCH=-1 "$bin/booking-worker")
is "$code" 78 'a bad configuration: 78'
for name in REDIS_URL BOOKING_LANES BOOKING_BATCH; do like "$(cat "$T/err")" "$name" "$name is named"; done
unlike "$(cat "$T/out" "$T/err")" hunter2 'no secret is shown'
is "$(exit_code "$bin/booking-worker" --check-config)" 0 '--check-config: 0'
like "$(cat "$T/out")" 'BOOKING_LEASE_MS.*15000' 'with every value'
is "$(exit_code env REDIS_URL=redis://127.0.0.1:1 "$bin/bookingctl" status)" 69 'no Redis: 69'
like "$(cat "$T/err")" '127.0.0.1:1' 'and it says where it looked'

stop_worker w1
is "$status" 0 'the worker leaves'
unlike "$(cat "$T/w1.log")" 'Sanitizer|runtime error' 'without a complaint'
done_testing
