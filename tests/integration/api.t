#!/usr/bin/env bash
# booking-admin's API beside what the page does with it: options, every route with good and bad input, and each of them
# while a server is away.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../support/admin.sh
. "$(dirname "$0")/../support/admin.sh"
servers_up
migrate

# call METHOD PATH [CURL...]: prints the status code; headers and body are in $T/head and $T/body
call() {
  local method=$1 path=$2
  shift 2
  curl -s -m 10 -X "$method" -D "$T/head" -o "$T/body" -w '%{http_code}' -H "Authorization: Bearer $operator_token" "$@" "$admin_url$path"
}
get() { call GET "$@"; }
post() { call POST "$1" -H 'Content-Type: application/json' -d "$2"; }
# answers CODE JQ EXPECTED NAME METHOD PATH [BODY]: the code, and what jq makes of the body
answers() {
  local name=$4
  if [ "$5" = GET ]; then is "$(get "$6")" "$1" "$name: $1"; else is "$(post "$6" "${7:-}")" "$1" "$name: $1"; fi
  like "$(jq -r "$2" "$T/body" 2>&1)" "$3" "$name"
}
refuses() { answers "$1" .error "$2" "${@:3}"; }

# --- at the door

admin() { "$bin/booking-admin" "$@"; }
is "$(exit_code admin -h)" 0 '-h'
for option in "--env-file $T/env" "--env-file=$T/env"; do
  printf 'BOOKING_QUEUE=Bad Name\n' >"$T/env"
  # shellcheck disable=SC2086 # two words
  is "$(BOOKING_QUEUE='' exit_code admin $option)" 78 "$option is read"
  like "$(cat "$T/err")" 'BOOKING_QUEUE.*Bad Name' 'and found wanting'
done
is "$(exit_code admin --env-file)" 64 '--env-file without a file: 64'

fill_queue
worker_up w1
wait_until 30 drained || bail 'the queue is not worked off'
fill_lines
held_up() { depth_is inbox 0 && depth_is waiting 6; }
wait_until 30 held_up || bail 'nobody waits in line'
admin_up
start_twin() { BOOKING_ADMIN_LISTEN=${admin_url#http://} BOOKING_ADMIN_TOKEN_FILE=$T/tokens timeout 10 "$bin/booking-admin"; }
is "$(exit_code start_twin)" 78 'a port that is taken: 78'
like "$(cat "$T/err")" 'BOOKING_ADMIN_LISTEN: cannot listen on' 'told'

# --- looking

answers 200 '.status.queue + " " + (.history | tostring)' '^booking null$' overview GET /api/v1/overview
answers 200 .history.every_ms '^2000$' 'with its history' GET '/api/v1/overview?history=1'
sampled() { [ "$(get '/api/v1/overview?history=1')" = 200 ] && jq -e '[.history.samples[] | select(.[1] != null)] | length >= 3' "$T/body"; }
ok 'samples are taken as time goes by' wait_until 30 sampled
is "$(jq -c '.history.columns' "$T/body")" '["at_ms","jobs_per_second","oldest_ms","backlog","dead"]' 'with their columns'
is "$(jq '.history.samples[-1][4]' "$T/body")" "$(depth dead)" 'and count the dead'
{ for n in {101..140}; do create_line "$n" "$((n - 100))" | sed 's/2030-/2040-/g'; done; } | ctl enqueue - >/dev/null
rated() { sampled && jq -e '[.history.samples[][1] | select(. > 0)] | length > 0' "$T/body"; }
ok 'what is done shows as jobs a second' wait_until 30 rated
redis eval 'for i = 1, 300 do redis.call("ZADD", KEYS[1], ARGV[1], "fake" .. i .. "@1") end' 1 "$(key workers)" $(($(now_ms) + 3600000)) >/dev/null
before=$(jq '.history.samples | length' "$T/body")
more_samples() { sampled && [ "$(jq '[.history.samples[] | select(.[1] != null)] | length' "$T/body")" -ge $((before + 2)) ]; }
ok 'three hundred workers more do not stop it' wait_until 30 more_samples
redis eval 'for i = 1, 300 do redis.call("ZREM", KEYS[1], "fake" .. i .. "@1") end' 1 "$(key workers)" >/dev/null
answers 200 'map(.name) | join(" ")' '^w1$' workers GET /api/v1/workers
answers 200 '.lines | length' '^3$' lines GET /api/v1/lines
like "$(jq -c '.lines[0]' "$T/body")" "\"$(uuid_of 1)\"|\"$(uuid_of 2)\"|\"$(uuid_of 3)\"" 'by key'
is "$(jq -c '[.lines[] | to_entries[] | select(.value | type == "number").value]' "$T/body")" '[2,2,2]' 'with how many wait'
answers 200 '.state' '^retry$' 'job' GET '/api/v1/job?q=held-1'
answers 200 '.ledger.outcome' '^applied$' 'a job of the ledger' GET '/api/v1/job?q=web-5'
refuses 404 'no job' 'a job that never was' GET '/api/v1/job?q=nobody'
for bad in '' '?q=' "?q=$(printf '%0129d' 1)"; do refuses 400 'q: expected' "job$bad" GET "/api/v1/job$bad"; done
refuses 404 'that is no ticket' 'a letter that is none' GET /api/v1/dead/nonsense
refuses 404 'nothing here' 'no route' GET /api/v1/nothing
refuses 404 'nothing here' 'no version' GET /api/
for number in 0 -1 201 x 1e2; do refuses 400 'limit: expected a number from 1 to 200' "limit=$number" GET "/api/v1/dead?limit=$number"; done
answers 200 '.letters | length' '^5$' 'a page of five' GET '/api/v1/dead?limit=5&order=newest&since=&until='
now=$(now_ms)
answers 200 .count "^$(depth dead)\$" 'times as Unix ms' GET "/api/v1/dead?count=1&since=1&until=$now"
answers 200 .until_ms "^$now\$" 'which bound the count' GET "/api/v1/dead?count=1&until=$now"
refuses 400 'until: expected' 'a time beyond all times' GET '/api/v1/dead?until=99999999999999999'
refuses 400 'reason: there is no' 'export by a reason that is none' GET '/api/v1/dead/export?reason=x'
is "$(get /api/v1/dead/export)" 200 export
like "$(cat "$T/head")" 'X-Left-Out: [1-9]' 'tells what it leaves out'

# --- an export in parts, of letters larger than one answer may be

awk -v n=200 'BEGIN { for (i = 0; i < 60000; i++) x = x "x"; for (i = 1; i <= n; i++) printf "{\"id\":\"large-%d\",\"kind\":\"booking.none\",\"key\":\"large-%d\",\"args\":{\"x\":\"%s\"}}\n", i, i, x }' |
  ctl enqueue - >/dev/null
ok '(the large ones are dead)' wait_until 30 bash -c "[ \"\$('$bin/bookingctl' dead list --json --kind booking.none | jq length)\" = 200 ]"
next='' parts=0
: >"$T/export"
while [ "$next" != end ] && [ $parts -lt 10 ]; do
  get "/api/v1/dead/export?kind=booking.none&cursor=$next" >/dev/null
  cat "$T/body" >>"$T/export"
  next=$(tr -d '\r' <"$T/head" | sed -n 's/^X-Next: //p')
  parts=$((parts + 1))
done
is "$(jq -r .id "$T/export" | sort -u | wc -l) $(wc -l <"$T/export")" '200 200' "each letter stands in one of the $parts parts"
ok 'of which there are several' test $parts -gt 1

# --- acting

refuses 400 'the body: not JSON' 'no JSON' POST /api/v1/paused 'nonsense'
refuses 400 'unknown member "pause"' 'an unknown member' POST /api/v1/paused '{"pause":true}'
for body in '{}' '{"paused":"yes"}' '{"paused":1}'; do refuses 400 'expected ."paused":true' "paused $body" POST /api/v1/paused "$body"; done
answers 200 .paused '^1$' pause POST /api/v1/paused '{"paused":true}'
answers 200 .paused '^0$' resume POST /api/v1/paused '{"paused":false}'
for mode in open closed auto; do answers 200 .breaker "^$mode\$" "breaker $mode" POST /api/v1/breaker "{\"mode\":\"$mode\"}"; done
for body in '{}' '{"mode":"ajar"}' '{"mode":1}' '[]'; do refuses 400 'mode: expected|the body' "breaker $body" POST /api/v1/breaker "$body"; done
answers 200 '.entries[0].detail' 'breaker=auto' audit GET '/api/v1/audit?limit=2'
before=$(jq -r .next "$T/body")
answers 200 '.entries | length' '^[1-9]' 'and on' GET "/api/v1/audit?before=$before"
is "$(jq -r .next "$T/body")" '' 'to its end'
answers 200 '.entries | length' '^[1-9]' 'an empty cursor is the beginning' GET '/api/v1/audit?before='
refuses 400 'before: expected' 'a cursor that is none' GET '/api/v1/audit?before=x'
refuses 400 'limit: expected' 'a limit that is none' GET '/api/v1/audit?limit=x'

act=/api/v1/dead/drop
refuses 400 'either tickets or a filter' 'neither' POST $act '{}'
refuses 400 'either tickets or a filter' 'both' POST $act '{"tickets":["1-1"],"filter":{}}'
for tickets in '"1-1"' '[]' '[1]' '["1-1",2]' '["1-1"' '["1"]' "[\"$(printf '%048d' 1)-1\"]" '["1-1","x"]' '[["1-1"]]'; do
  is "$(post $act "{\"tickets\":$tickets}")" 400 "tickets: $tickets"
done
is "$(post $act "{\"tickets\":[$(seq -s, -f '"%.0f-1"' 1001)]}")" 400 'a thousand and one'
answers 200 '[.acted, .asked] | join(" ")' '^0 1000$' 'a thousand, none of them dead' POST $act "{\"tickets\":[$(seq -s, -f '"%.0f-1"' 1000)]}"
answers 200 '[.acted, .asked] | join(" ")' '^0 2$' 'blanks between them' POST $act '{"tickets":[ "1-1" , "2-2" ]}'
refuses 400 'filter: expected' 'a filter that is none' POST $act '{"filter":[]}'
refuses 400 'cursor: expected' 'a cursor that is none' POST $act "{\"filter\":{\"until\":\"$now\"},\"cursor\":\"x\"}"
refuses 400 'order: expected' 'an order that is none' POST $act "{\"filter\":{\"until\":\"$now\",\"order\":\"up\"}}"
answers 200 '[.acted, .asked] | join(" ")' '^0 0$' 'a filter that fits nothing' POST $act "{\"filter\":{\"until\":\"$now\",\"text\":\"no such text\"}}"

edit=/api/v1/dead/edit
for body in '{}' '{"ticket":"1-1"}' '{"ticket":"x","args":"{}"}' '{"ticket":1,"args":"{}"}' '{"args":"{}"}'; do
  refuses 400 'expected (."ticket"|a string)' "edit $body" POST $edit "$body"
done
refuses 400 'unknown member' 'edit what cannot be' POST $edit '{"ticket":"1-1","args":"{}","id":"x"}'
refuses 404 'no dead letter' 'a letter that is none' POST $edit '{"ticket":"1-1","args":"{}"}'
letter() { ctl dead list --json --reason "$1" | jq -r '.[0].ticket'; }
expired=$(letter expired)
many='{'
for n in {1..40}; do many+="\\\"m$n\\\":1,"; done
refuses 400 'key' 'a key that is none, behind more members than any kind has' POST $edit \
  "{\"ticket\":\"$expired\",\"args\":\"$many\\\"booking_id\\\":\\\"$(printf '%0129d' 1)\\\"}\"}"
for n in {41..65}; do many+="\\\"m$n\\\":1,"; done
refuses 400 'args: .*members' 'args with more members than are read' POST $edit "{\"ticket\":\"$expired\",\"args\":\"${many%,}}\"}"
refuses 400 'key' 'a key that is none' POST $edit "{\"ticket\":\"$expired\",\"args\":\"{}\",\"key\":\"$(printf '%0129d' 1)\"}"
# applied after it had died: by somebody who sent it again
sql "insert into booking.command select (jsonb_populate_record(c, jsonb_build_object('id', '$(ctl dead show "$expired" --json | jq -r .id)'))).*
     from booking.command c where id = 'web-5'"
refuses 409 'it has been applied' 'one that the ledger has as applied' POST $edit "{\"ticket\":\"$expired\",\"args\":\"{}\"}"
answers 200 .id ':edit:' 'kind and key can be corrected, too' POST $edit \
  "{\"ticket\":\"$(letter unknown_kind)\",\"args\":\"{\\\"booking_id\\\":\\\"$(uuid_of 7)\\\"}\",\"kind\":\"booking.confirm\",\"key\":\"$(uuid_of 7)\",\"why\":\"typo\"}"
malformed=$(letter malformed)
answers 200 .id '^(bad)?:?edit:' 'a letter without an id that is one' POST $edit \
  "{\"ticket\":\"$malformed\",\"args\":\"{\\\"booking_id\\\":\\\"$(uuid_of 8)\\\"}\",\"kind\":\"booking.confirm\"}"
ok 'both run' wait_until 20 bash -c "[ \"\$(psql -XAtqc \"select count(*) from booking.command where id like '%edit:%'\")\" = 2 ]"
ttl=$(($(now_ms) + 3600000))
redis hset "$(key job:1-0)" state dead id lasting kind booking.none key k args '{}' reason unknown_kind died_at 1 expires_at $ttl >/dev/null
redis zadd "$(key dead)" 1 1-0 >/dev/null
ctl pause >/dev/null
answers 200 .ticket - 'a letter whose time has not come' POST $edit '{"ticket":"1-0","args":"{}"}'
like "$(redis xrange "$(key inbox)" "$(jq -r .ticket "$T/body")" + | paste -sd' ')" "expires_at $ttl" 'keeps its limit'
ctl resume >/dev/null

# --- sessions

log_in() { curl -s -m 10 -o "$T/body" -D "$T/head" -c "$T/jar" -w '%{http_code}' "$@" "$admin_url/api/v1/login"; }
json='Content-Type: application/json'
is "$(log_in -d '{}')" 415 'what a form could send'
for body in '' '{}' '{"token":1}' '{"password":"x"}' '{"token":"x","more":"y"}' '[]'; do is "$(log_in -H "$json" -d "$body")" 400 "login: $body"; done
is "$(log_in -H "$json" -H 'X-Forwarded-Proto: https' -d "{\"token\":\"$viewer_token\"}")" 200 'behind a TLS proxy'
like "$(grep -i '^set-cookie' "$T/head")" '; Secure' 'the cookie is Secure'
is "$(log_in -H "$json" -H 'X-Forwarded-Proto: http' -d "{\"token\":\"$viewer_token\"}")" 200 'behind another'
unlike "$(grep -i '^set-cookie' "$T/head")" Secure 'it is not'
is "$(jq -r .role "$T/body")" viewer 'who one is'
id=$(sed -n 's/.*booking_session\t//p' "$T/jar")
session() { curl -s -m 10 -o "$T/body" -w '%{http_code}' "$@" "$admin_url/api/v1/session"; }
is "$(session -H "Cookie: other=1; booking_session=$id; more=2")" 200 'a cookie among others'
is "$(session -H "Cookie: booking_sessions=$id; x")" 401 'one with a longer name is none'
is "$(session -H "Cookie: booking_session=$(printf '%0300d' 1)")" 401 'one that is too long neither'
is "$(session -H "Authorization: Basic $(printf 'x:y' | base64)")" 401 'there is no other way in'
is "$(session -I)" 401 'HEAD is GET'
is "$(curl -s -o "$T/body" -w '%{http_code}' -X POST "$admin_url/")" 405 'the page is not changed'
is "$(curl -s -o "$T/body" -D "$T/head" -w '%{http_code}' "$admin_url/app.js")" 200 'its parts'
like "$(cat "$T/head")" 'text/javascript' 'have their types'
is "$(curl -s -o "$T/body" -w '%{http_code}' -I "$admin_url/style.css")" 200 'HEAD of them'

# --- servers that are away

"$root/deploy/servers" pg-stop-fast "$T"
answers 200 '.ledger' '^null$' 'PostgreSQL away: what the queue knows of a job' GET '/api/v1/job?q=held-1'
refuses 503 '.' 'what only the ledger may know' GET '/api/v1/job?q=web-5'
refuses 503 'not known, so it stays' 'an edit that has to look into the ledger' POST $edit "{\"ticket\":\"$(letter expired)\",\"args\":\"{}\"}"
ticket=$(letter expired)
"$root/deploy/servers" redis-kill "$T"
for path in overview 'overview?history=1' workers dead 'dead?count=1' "dead/$ticket" dead/export 'job?q=x' 'job?q=1-1' lines audit; do
  refuses 503 redis "Redis away: $path" GET "/api/v1/$path"
done
while IFS='|' read -r path body; do refuses 503 redis "Redis away: $path" POST "/api/v1/$path" "$body"; done <<END
dead/drop|{"tickets":["1-1"]}
dead/drop|{"filter":{"until":"$now"}}
dead/edit|{"ticket":"1-1","args":"{}"}
paused|{"paused":true}
breaker|{"mode":"open"}
END
blind() { "$root/deploy/servers" redis-start "$T" && [ "$(get '/api/v1/overview?history=1')" = 200 ] && jq -e '[.history.samples[] | select(.[1] == null)] | length > 0' "$T/body"; }
ok 'the samples of that time say that nothing is known' wait_until 30 blind
signal_worker admin INT
wait_exit admin 10
is "$status" 0 'INT ends it'
done_testing
