#!/usr/bin/env bash
# Everything of tests/corpus that is bad, through each door: raw into the stream, as lines of enqueue, over HTTP. Each gets
# its answer and nothing else does: all bytes are kept, nothing that is printed obeys, and honest work goes on beside it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../support/admin.sh
. "$(dirname "$0")/../support/admin.sh"
servers_up
migrate
hostile=$bin/../tests/hostile
[ -x "$hostile" ] || bail "no $hostile: build with BOOKING_TESTS"

booking() { printf '6f1d2c3b-0000-4000-8000-%012d' "$1"; }

# honest N: a good booking, sent and applied; it would not be if anything had got stuck
honest() {
  redis xadd "$(key inbox)" '*' id "honest-$1" kind booking.create key "$(booking "$1")" reply 1 args \
    "{\"booking_id\":\"$(booking "$1")\",\"resource_id\":$1,\"customer_id\":1,\"starts_at\":\"2031-01-01T10:00:00Z\",\"ends_at\":\"2031-01-01T11:00:00Z\"}" >/dev/null
  redis --raw blpop "$(key "reply:honest-$1")" 15 | tail -n 1 | jq -r .outcome
}

# plain FILE: text that a terminal can be given; shows the lines that are not
plain() {
  local found
  found=$(LC_ALL=C grep -anP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]' "$1" | head -n 5 | cat -v)
  if [ -n "$found" ] || ! iconv -f UTF-8 -t UTF-8 "$1" >/dev/null; then
    echo "$found"
    return 1
  fi
}

# --- raw into the stream

sql "insert into booking.resource (id, name, active) select g, 'Time ' || g, true from generate_series(1000, 1400) g" >/dev/null
"$hostile" entries "$BOOKING_QUEUE" "$T/expected" >"$T/entries"
sent=$(wc -l <"$T/expected")
like "$(redis --pipe <"$T/entries" 2>&1 | tail -n 1)" "errors: 0, replies: $((2 * sent))" "$sent entries are in the stream"
mapfile -t tickets < <(jq -r 'select(.row | test("^hostile.txt")) | .ticket' "$T/expected")
for ticket in "${tickets[@]}"; do
  ctl job "$ticket" >>"$T/waiting" && ctl job "$ticket" --json >>"$T/waiting.json"
done
is "$(grep -c '^job .*: inbox' "$T/waiting") $(jq -s length "$T/waiting.json")" "${#tickets[@]} ${#tickets[@]}" 'job tells of those that wait: text, and JSON'
ok 'that a terminal can be given' plain "$T/waiting"
worker_up w1 BOOKING_LOG_LEVEL=query
ok 'the queue is worked off' wait_until 60 depth_is inbox 0
dead_is() { ctl dead list --json | jq -e --arg t "$1" --arg r "$2" '.[] | select(.ticket == $t and .reason == $r)' >/dev/null; }
no_more() { [ "$(ctl status --json | jq '.inbox + .ready + .waiting + .active + .retry')" = 0 ]; }
ok 'and nothing is stuck' wait_until 60 no_more
is "$(honest 1)" applied 'an honest command behind them applies'
ok 'the worker is well' test -d "/proc/${worker_pid[w1]}"

ctl dead list --json >"$T/dead"
sql "select json_build_object('id', c.id, 'outcome', c.outcome, 'starts_us',
       (select (extract(epoch from lower(b.during)) * 1000000)::bigint from booking.booking b where b.id = c.booking_id))
     from booking.command c" >"$T/ledger"

# What is told of each entry against what became of it, a line for each that differs.
differences() {
  jq -rn --slurpfile want "$T/expected" --slurpfile dead "$T/dead" --slurpfile ledger "$T/ledger" '
    ($dead[0] | map({key: .ticket, value: .}) | from_entries) as $letters
    | ($ledger | map({key: .id, value: .}) | from_entries) as $done
    | $want[] | . as $w
    | ($letters[.ticket] // {reason: "none", error: ""}) as $letter
    | if .answer == "good" then
        if $letters[.ticket] then "\(.row): dead, \($letter.reason): \($letter.error)"
        elif ($done[.id].outcome // "none") | test("^(applied|rejected)$") | not then "\(.row): not in the ledger"
        elif .starts_us and $done[.id].starts_us != .starts_us then "\(.row): is \($done[.id].starts_us) to PostgreSQL"
        else empty end
      elif .answer == "scheduled" then
        if $letters[.ticket] or $done[.id] then "\(.row): not scheduled" else empty end
      elif $letter.reason != .answer then "\(.row): \($letter.reason) instead of \(.answer): \($letter.error)"
      elif .error | endswith("...") then
        (.error[:-3]) as $begin | if $letter.error | startswith($begin) then empty else "\($w.row): \($letter.error)" end
      elif $letter.error != .error then "\(.row): \($letter.error)"
      else empty end'
}
is "$(differences | head -n 20)" '' 'each has its answer, and each error is the expected one'
is "$(jq length "$T/dead")" "$(jq -s 'map(select(.answer != "good" and .answer != "scheduled")) | length' "$T/expected")" 'no letter more'
is "$(depth scheduled)" "$(jq -s 'map(select(.answer == "scheduled")) | length' "$T/expected")" 'what is not due yet is scheduled'
is "$(jq -rs 'map(select(.reason != "id_reused" and (.error | test("field|args|key|kind|expires_at") | not))) | .[].error' <(jq -c '.[]' "$T/dead"))" '' \
  'each error names the field'
is "$(sql "select count(*) from booking.command where outcome = 'dead'")" 0 'none of them came as far as the ledger'
is "$(sql "select count(*) from booking.booking where status not in ('pending') or version <> 1")" 0 'and no booking was touched'
unlike "$(redis hgetall "$(key gate)")" . 'no gate is held'
is "$(redis --scan --pattern '*:line:*')" '' 'and nobody waits in a line'
is "$(redis --scan --pattern "$(key 'job:*')" | wc -l)" $(($(depth dead) + $(depth scheduled))) 'no job is kept but the dead and the scheduled'

# The very bytes, of every letter: as fields, or as netstrings in `raw`.
is "$(redis eval '
  local bad, count = {}, 0
  for _, key in ipairs(redis.call("KEYS", "hostile:sent:*")) do
    local ticket = string.match(key, "([^:]*)$")
    local sent, job = redis.call("LRANGE", key, 0, -1), ARGV[1] .. "job:" .. ticket
    if redis.call("EXISTS", job) == 1 then
      count = count + 1
      local raw, same = redis.call("HGET", job, "raw"), true
      if raw then
        local strings = {}
        for i, word in ipairs(sent) do strings[i] = #word .. ":" .. word .. "," end
        same = raw == table.concat(strings)
      else
        for i = 1, #sent, 2 do same = same and redis.call("HGET", job, sent[i]) == sent[i + 1] end
      end
      if not same then bad[#bad + 1] = ticket end
    end
  end
  return count .. " " .. table.concat(bad, " ")' 0 "$(key '')")" \
  "$(jq -s 'map(select(.answer != "good")) | length' "$T/expected") " 'every byte of each of them is kept'

# --- shown to people

ctl dead list --limit 10000 >"$T/list"
is "$(wc -l <"$T/list")" "$(jq length "$T/dead")" 'dead list: a line each'
ok 'that a terminal can be given' plain "$T/list"
mapfile -t tickets < <(jq -r 'select(.answer != "good" and (.row | test("^(hostile|entries).txt"))) | .ticket' "$T/expected")
for ticket in "${tickets[@]}"; do
  ctl dead show "$ticket" --json >>"$T/shown.json" 2>>"$T/show.err" || true
  ctl dead show "$ticket" >>"$T/shown" 2>>"$T/show.err" || true
done
is "$(jq -s length "$T/shown.json")" "$(grep -c '^job .*: dead' "$T/shown")" "dead show of ${#tickets[@]} letters: JSON, and text"
ok 'that a terminal can be given, too' plain "$T/shown"
for id in $'\e[2J' 'a b' '%s%n' "'; drop table booking.booking; --" '{a}' '../../etc/passwd' $'\xff' $'a\r\nb' 'é'; do
  ctl job "$id" >>"$T/jobs" 2>&1 || true
  ctl job "$id" --json >>"$T/jobs.json" 2>/dev/null || true
done
is "$(grep -c '^job .*: dead' "$T/jobs") $(jq -s length "$T/jobs.json")" '9 9' 'job finds each by the id that it claims'
ok 'and prints it harmless' plain "$T/jobs"
ctl job $'no such\e[2J\xff' >"$T/none" 2>&1 || true
like "$(cat "$T/none")" 'no job' 'and says so of one that is not there'
ok 'harmless as well' plain "$T/none"

# Words on the command line are anybody's, too.
for words in $'dead retry \e[3J' $'dead drop \e[3J --dry-run --yes' $'dead show \e[3J' $'dead list --reason \e[3J' $'\e[3J' $'--\e[3J' $'dead \e[3J' $'status --\e[3J'; do
  # shellcheck disable=SC2086 # two words are two
  ctl $words >>"$T/words" 2>&1 && echo "taken: $words" >>"$T/words"
done
"$bin/booking-worker" $'--\e[2J' >>"$T/words" 2>&1 || "$bin/booking-admin" $'--a\nb\e[2J' >>"$T/words" 2>&1 || true
is "$(grep -c '^booking' "$T/words") $(wc -l <"$T/words")" '10 10' 'each hostile word is told in a line'
ok 'which is harmless' plain "$T/words"

# What is exported can come back, and is the same: here, into another queue, where it dies of the same.
is "$(exit_code ctl dead export)" 0 'dead export'
grep -v . "$T/out" >"$T/blank" || true
jq -c . "$T/out" >"$T/lines"
is "$(wc -l <"$T/lines") $(wc -l <"$T/blank")" "$(wc -l <"$T/out") 0" 'is JSON lines'
like "$(cat "$T/err")" '^[0-9]+ left out: malformed, or args that are no JSON$' 'and tells how many cannot be any'
cp "$T/out" "$T/export"
export BOOKING_QUEUE=again
like "$(exit_code ctl enqueue "$T/export")" '^(0|65)$' 'enqueue takes it back'
unlike "$(cat "$T/err")" 'JSON|unknown' 'but for what was malformed'
taken=$(sed -nE 's/^enqueued ([0-9]+).*/\1/p' "$T/out")
refused=$(sed -nE 's/.*refused ([0-9]+)$/\1/p' "$T/out")
sed -nE 's/^line ([0-9]+) .*/\1/p' "$T/err" >"$T/refused"
is "$(awk 'NR == FNR { out[$1]; next } FNR in out' "$T/refused" "$T/export" | jq -r .id | sort >"$T/ids" && jq -r '.[] | select(.reason == "malformed") | .id' "$T/dead" | sort | comm -23 "$T/ids" - | wc -l)" 0 \
  "refused are $refused malformed ones"
worker_up again
ok 'the other queue is worked off' wait_until 30 drained
is "$(jq -n --slurpfile there <(ctl dead list --json) --slurpfile here "$T/dead" '
  [$there[0][] | [.id, .kind, .key, .reason, .error]] - [$here[0][] | [.id, .kind, .key, .reason, .error]] | length')" 0 \
  'there they die of the same'
is "$(depth dead)" $((taken - 1)) 'all of them but one, whose args were too long by blanks behind them, which a line does not keep'
stop_worker again
export BOOKING_QUEUE=booking

# --- the largest ticket there is, in a queue of its own

export BOOKING_QUEUE=last
last=18446744073709551615-18446744073709551615
args="{\"booking_id\":\"$(booking 1)\"}"
redis xadd "$(key inbox)" 18446744073709551615-18446744073709551614 id last-1 kind booking.confirm key "$(booking 1)" args "$args" >/dev/null
redis xadd "$(key inbox)" $last id last-2 kind booking.nothing key "$(booking 1)" args "$args" >/dev/null
worker_up last
ok 'the largest ticket is taken' wait_until 20 drained
is "$(redis xlen "$(key inbox)") $(ctl dead list --json | jq -r '.[].ticket')" "0 $last" 'and dies under its name'
is "$(sql "select outcome || ' ' || ticket from booking.command where id = 'last-1'")" 'applied 18446744073709551615-18446744073709551614' \
  'the one before it applies'
is "$(exit_code ctl dead retry $last)" 0 'it can be retried'
ok 'to die again' wait_until 20 depth_is dead 1
is "$(exit_code ctl dead drop $last --yes)" 0 'and can be dropped'
stop_worker last
export BOOKING_QUEUE=booking

# --- lines of enqueue

"$hostile" lines "$T/refusals" >"$T/lines"
is "$(exit_code ctl enqueue "$T/lines")" 65 'enqueue of hostile lines: 65'
is "$(diff "$T/refusals" "$T/err" | head -n 10)" '' 'each is refused for its reason, by its number'
ok 'in words that a terminal can be given' plain "$T/err"
is "$(tail -n 1 "$T/out")" "enqueued $(($(wc -l <"$T/lines") - $(wc -l <"$T/refusals"))), refused $(wc -l <"$T/refusals")" 'the others are in'
ok 'the honest ones between them apply' wait_until 30 no_more
is "$(sql "select count(*) from booking.command where id like 'honest-%' and outcome = 'rejected'")" \
  "$(grep -c '"id":"honest-' "$T/lines")" 'all of them'

# --- over HTTP

admin_up
ticket=$(ctl dead list --json --reason invalid_args --limit 1 | jq -r '.[0].ticket')
before=$(depth dead)
"$bin/../tests/requests" "${admin_url##*:}" "$operator_token" "$viewer_token" "$ticket" >"$T/answers"
like "$(cat "$T/answers")" '^[0-9]+ requests$' 'hostile requests: each has its answer'
is "$(depth dead) $(ctl status --json | jq .paused) $(ctl audit --json | jq '[.[] | select(.who | startswith("token:"))] | length')" "$before false 0" \
  'none of them changed anything'
curl -s -m 10 -H "Authorization: Bearer $viewer_token" "$admin_url/api/v1/dead?limit=200&order=oldest" >"$T/page"
is "$(jq '.letters | length' "$T/page")" 200 'a page of hostile letters is JSON'
ok 'without a byte that a terminal would obey' plain "$T/page"
is "$(jq -S '.letters[:100] | map([.ticket, .id, .kind, .key, .reason, .error])' "$T/page")" \
  "$(ctl dead list --json | jq -S 'sort_by(.dead_at_ms) | [.[] | select(.ticket | startswith("1700000000000-"))] | map([.ticket, .id, .kind, .key, .reason, .error])' | jq -S --slurpfile page "$T/page" '. as $all | [$page[0].letters[:100][].ticket] as $t | [$t[] as $x | $all[] | select(.[0] == $x)]')" \
  'and tells of them as bookingctl does'

# Args that are JSON and no more: the letter goes on as a new command, and dies of the same.
curl -s -m 10 -X POST -H "Authorization: Bearer $operator_token" -H 'Content-Type: application/json' "$admin_url/api/v1/dead/edit" \
  --data-binary "{\"ticket\":\"$ticket\",\"args\":\"{\\\"\\u202e\\\":\\\"%s%n '; --\\\"}\",\"kind\":\"<script>\",\"key\":\"\\u001b[2J\"}" >"$T/edited"
ok 'an edit that makes it worse is taken' jq -e .id "$T/edited"
ok 'and dies' wait_until 20 dead_is "$(jq -r .ticket "$T/edited")" unknown_kind
signal_worker admin TERM
wait_exit admin 10
is "$status" 0 'booking-admin is well'
unlike "$(cat "$T/admin.log")" 'Sanitizer|runtime error' 'without a complaint'
is "$(honest 2)" applied 'and so is the worker'
stop_worker w1
is "$status" 0 'which leaves in peace'
unlike "$(cat "$T/w1.log")" 'Sanitizer|runtime error' 'without a complaint'
is "$(jq -cR 'fromjson | empty' "$T/w1.log" 2>&1 | head -n 3)" '' 'and whose log is JSON lines all'
ok 'and harmless' plain "$T/w1.log"
done_testing
