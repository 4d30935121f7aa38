#!/usr/bin/env bash
# booking-admin over HTTP: who may do what, what an attacker gets, and that acting on the dead is exact.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../support/admin.sh
. "$(dirname "$0")/../support/admin.sh"
servers_up
migrate

admin() { "$bin/booking-admin" "$@"; }
# with FILE: runs the program with that token file, for as long as it takes to refuse it
with() { exit_code env BOOKING_ADMIN_LISTEN=127.0.0.1:0 BOOKING_ADMIN_TOKEN_FILE="$1" timeout 5 "$bin/booking-admin"; }

# --- at the door

is "$(exit_code admin --help)" 0 '--help'
like "$(cat "$T/out")" BOOKING_ADMIN_TOKEN_FILE '--help names its settings'
is "$(exit_code admin --version)" 0 '--version'
like "$(cat "$T/out")" '^booking-admin [0-9.]+ \(libpq ' '--version names the libraries'
is "$(exit_code admin --nonsense)" 64 'an unknown option'
is "$(wc -l <"$T/err")" 1 'is told in one line'
is "$(exit_code env BOOKING_ADMIN_LISTEN=nowhere BOOKING_QUEUE='A B' "$bin/booking-admin")" 78 'bad configuration'
is "$(grep -cE 'BOOKING_ADMIN_LISTEN|BOOKING_QUEUE|BOOKING_ADMIN_TOKEN_FILE' "$T/err")" 3 'is told with all its faults'
printf 'olga operator aaaaaaaaaaaaaaaaaaaa\n' >"$T/open"
for mode in 0640 0604 0660 0644; do
  chmod $mode "$T/open"
  is "$(with "$T/open")" 78 "a token file of mode $mode is refused"
done
like "$(cat "$T/err")" 'BOOKING_ADMIN_TOKEN_FILE.*0644.*0600' 'the fault names mode and what is expected'
unlike "$(cat "$T/err")" 'aaaaaaaa' 'and shows no token'
printf 'olga boss aaaaaaaaaaaaaaaaaaaa\nbad line\n' >"$T/bad"
chmod 600 "$T/bad"
is "$(with "$T/bad")" 78 'a role that is none'
is "$(grep -c 'line [12]' "$T/err")" 2 'each bad line is told'
printf 'olga operator aaaaaaaaaaaaaaaaaaaa\0bbbb\n' >"$T/bad"
is "$(with "$T/bad")" 78 'a token with a NUL byte in it'
is "$(with "$T/nothing")" 78 'a file that is not there'
install -m 600 /dev/null "$T/empty"
is "$(with "$T/empty")" 78 'a file without tokens'

# --- who may do what

fill_queue
worker_up w1
wait_until 30 drained
stop_worker w1
admin_up

# call METHOD PATH [CURL...]: prints the status code; headers and body are in $T/head and $T/body
call() {
  local method=$1 path=$2
  shift 2
  curl -s -m 10 -X "$method" -D "$T/head" -o "$T/body" -w '%{http_code}' "$@" "$admin_url$path"
}
as() { printf 'Authorization: Bearer %s' "$1"; }
json='Content-Type: application/json'
get() { call GET "$1" -H "$(as "$operator_token")" "${@:2}"; }
post() { call POST "$1" -H "$(as "$operator_token")" -H "$json" -d "$2"; }

changes=(/api/v1/dead/retry /api/v1/dead/drop /api/v1/dead/edit /api/v1/paused /api/v1/breaker)
bodies=('{"tickets":["1-1"]}' '{"tickets":["1-1"]}' '{"ticket":"1-1","args":"{}"}' '{"paused":true}' '{"mode":"open"}')
reads=(/api/v1/session /api/v1/overview /api/v1/workers /api/v1/dead /api/v1/dead/1-1 /api/v1/dead/export /api/v1/lines /api/v1/audit '/api/v1/job?q=web-1')
for path in "${reads[@]}"; do is "$(call GET "$path")" 401 "without a token: $path"; done
unlike "$(cat "$T/body")" web-1 'nothing is told'

login() { call POST /api/v1/login -H "$json" -c "$T/jar-$1" -d "{\"token\":\"$2\"}"; }
is "$(login olga "$operator_token")" 200 'an operator logs in'
like "$(cat "$T/head")" 'Set-Cookie: booking_session=[0-9a-f]{64};' 'and gets a cookie'
for flag in HttpOnly SameSite=Strict Path=/; do like "$(grep -i '^set-cookie' "$T/head")" "$flag" "with $flag"; done
csrf=$(jq -r .csrf "$T/body")
is "$(login vera "$viewer_token")" 200 'a viewer logs in'
viewer_csrf=$(jq -r .csrf "$T/body")
for i in "${!changes[@]}"; do
  path=${changes[i]}
  is "$(call POST "$path" -H "$json" -d "${bodies[i]}")" 401 "no token: $path"
  is "$(call POST "$path" -H "$json" -b "$T/jar-olga" -d "${bodies[i]}")" 403 "no CSRF token: $path"
  is "$(call POST "$path" -H "$json" -b "$T/jar-olga" -H 'X-CSRF-Token: 0000' -d "${bodies[i]}")" 403 "a wrong one: $path"
  is "$(call POST "$path" -H "$json" -b "$T/jar-olga" -H "X-CSRF-Token: $viewer_csrf" -d "${bodies[i]}")" 403 "another session's: $path"
  is "$(call POST "$path" -H "$json" -b "$T/jar-vera" -H "X-CSRF-Token: $viewer_csrf" -d "${bodies[i]}")" 403 "a viewer: $path"
  is "$(call POST "$path" -H "$json" -H "$(as "$viewer_token")" -d "${bodies[i]}")" 403 "a viewer's token: $path"
  is "$(call POST "$path" -H 'Content-Type: text/plain' -b "$T/jar-olga" -H "X-CSRF-Token: $csrf" -d "${bodies[i]}")" 415 "what a form could send: $path"
  is "$(call GET "$path" -b "$T/jar-olga")" "$([[ $path = *dead/* ]] && echo 404 || echo 405)" "not by GET: $path"
done
is "$(ctl status --json | jq .paused)" false 'nothing has happened'
is "$(ctl audit --json | jq length)" 0 'and the audit says so'
is "$(call POST /api/v1/paused -H "$json" -b "$T/jar-olga" -H "X-CSRF-Token: $csrf" -d '{"paused":true}')" 200 'with both it works'
is "$(ctl status --json | jq .paused)" true 'and is done'
is "$(ctl audit --json | jq -r '.[0].who + " " + .[0].verb')" 'token:olga pause' 'under the name of the token'
is "$(post /api/v1/paused '{"paused":false}')" 200 'a program goes without a cookie'
is "$(call POST /api/v1/logout -H "$json" -b "$T/jar-olga" -H "X-CSRF-Token: $csrf" -d '{}')" 200 'logging out'
is "$(call GET /api/v1/session -b "$T/jar-olga")" 401 'ends the session'

for path in / /app.js /style.css /api/v1/session /nothing; do
  call GET "$path" >/dev/null
  like "$(grep -i '^content-security-policy' "$T/head")" "default-src 'none'" "a policy: $path"
  unlike "$(grep -i '^content-security-policy' "$T/head")" 'unsafe|\*|http' "and a strict one: $path"
done
is "$(call GET /)" 200 'the page'
unlike "$(cat "$T/body")" '<script>|<style|style=|onclick=|https?://' 'has nothing inline and nothing from outside'
unlike "$(cat "$root"/worker/admin/page/*.js)" 'innerHTML|outerHTML|insertAdjacent|document\.write' 'and makes no markup out of text'

# --- reading

is "$(get /api/v1/overview)" 200 'overview'
is "$(jq .status.dead "$T/body")" "$(depth dead)" 'counts as bookingctl does'
is "$(get '/api/v1/dead?reason=expired')" 200 'by reason'
is "$(jq '.letters | length' "$T/body")" 6 'six have expired'
is "$(get '/api/v1/dead?text=FORTY-two&kind=booking.create')" 200 'by text'
is "$(jq '.letters | length' "$T/body")" 12 'in the args, whatever the case'
is "$(get "/api/v1/dead?key=$(uuid_of 41)" && jq '.letters | length' "$T/body")" 2001 'by key'
is "$(get '/api/v1/dead?until=1h' && jq '.letters | length' "$T/body")" 2000 'by time: none an hour ago'
is "$(get '/api/v1/dead?since=1h&limit=200' && jq '.letters | length' "$T/body")" "200$(depth dead)" 'all since'
is "$(ctl dead list --json --text forty-two | jq length) $(ctl dead list --json --until 1h | jq length)" '12 0' 'bookingctl has the same filters'
for bad in 'reason=nonsense' 'since=yesterday' 'limit=0' 'limit=100000' 'cursor=x' 'order=up'; do is "$(get "/api/v1/dead?$bad")" 400 "refused: $bad"; done
is "$(get '/api/v1/job?q=web-1' && jq -r .ledger.outcome "$T/body")" 200applied 'job'
is "$(get /api/v1/dead/1-1)" 404 'a ticket that is none'

# Hostile payloads: JSON whose every byte is harmless, read back as they were.
ticket=$(ctl dead list --json | jq -r '.[] | select(.id == "hostile-kind").ticket')
is "$(get "/api/v1/dead/$ticket")" 200 'a hostile letter'
like "$(cat "$T/head")" '[Cc]ontent-[Tt]ype: application/json' 'is JSON'
like "$(cat "$T/head")" 'X-Content-Type-Options: nosniff' 'and nothing else'
is "$(jq -r .kind "$T/body")" "$hostile" 'with its very bytes'
ticket=$(ctl dead list --json | jq -r '.[] | select(.id == "hostile-ansi").ticket')
get "/api/v1/dead/$ticket" >/dev/null
unlike "$(cat "$T/body")" $'\e' 'no raw escape'
like "$(jq -r .args "$T/body")" $'\e' 'but the letter has it'
ticket=$(ctl dead list --json | jq -r '.[] | select(.id == "hostile-big").ticket')
is "$(get "/api/v1/dead/$ticket" && jq '.args | length' "$T/body")" 20065011 '64 KiB come back whole'

is "$(get /api/v1/dead/export)" 200 'export'
is "$(jq -s length <"$T/body")" "$(ctl dead export 2>/dev/null | jq -s length)" 'is what bookingctl exports: JSON lines all'
like "$(cat "$T/head")" 'X-Next: end' 'and says that it is complete'

# --- acting

tickets_of() { ctl dead list --json --reason "$1" | jq -c '[.[].ticket]'; }
is "$(post /api/v1/dead/drop '{"filter":{"reason":"expired"}}')" 400 'a filter that was not counted'
is "$(post /api/v1/dead/drop '{"filter":{"reasons":"expired","until":"0s"}}')" 400 'one that would filter nothing'
is "$(post /api/v1/dead/drop '{"filter":{"reason":["expired"],"until":"0s"}}')" 400 'one of another type'
is "$(post /api/v1/dead/drop '{"tickets":[]}')" 400 'no tickets'
is "$(post /api/v1/dead/drop '{"tickets":["x"]}')" 400 'what is no ticket'
before=$(depth dead)
get '/api/v1/dead?count=1&reason=expired' >/dev/null
is "$(jq .count "$T/body")" 6 'counted'
until=$(jq .until_ms "$T/body")
is "$(post /api/v1/dead/drop "{\"filter\":{\"reason\":\"expired\",\"until\":\"$until\"},\"why\":\"too late\"}")" 200 'dropped by filter'
is "$(jq -c . "$T/body")" '{"acted":6,"asked":6,"next":""}' 'exactly those'
is "$(depth dead)" $((before - 6)) 'and no other'
is "$(ctl audit --json | jq -r '.[0] | .who + " " + .verb + " " + .why + " " + (.tickets | length | tostring)')" 'token:olga drop too late 6' 'the audit tells'

# Two admins at once: one job.
one=$(tickets_of unknown_kind | jq -c '[.[0]]')
for token in "$operator_token" "$second_token"; do
  curl -s -m 10 -X POST -H "$(as "$token")" -H "$json" -d "{\"tickets\":$one}" "$admin_url/api/v1/dead/retry" >"$T/answer-$token" &
  racers+=($!)
done
wait "${racers[@]}"
is "$(cat "$T"/answer-* | jq -s 'map(.acted) | add')" 1 'two admins retry one letter: one of them acts'
is "$(depth ready)" 1 'and there is one job'

# Edit and retry.
ticket=$(tickets_of invalid_args | jq -r '.[0]')
new='{\"booking_id\":\"00000052-0000-4000-8000-000000000052\",\"resource_id\":5,\"customer_id\":42,\"starts_at\":\"2032-01-01T10:00:00Z\",\"ends_at\":\"2032-01-01T11:00:00Z\"}'
is "$(post /api/v1/dead/edit "{\"ticket\":\"$ticket\",\"args\":\"{no\",\"kind\":\"booking.create\"}")" 400 'args that are no JSON'
is "$(post /api/v1/dead/edit "{\"ticket\":\"$ticket\",\"args\":\"$new\",\"kind\":\"booking.create\",\"why\":\"typo\"}")" 200 'edited'
id=$(jq -r .id "$T/body")
like "$id" ":edit:$ticket\$" 'the new id names its origin'
is "$(post /api/v1/dead/edit "{\"ticket\":\"$ticket\",\"args\":\"$new\"}")" 404 'once'
is "$(ctl audit --json | jq -r '.[0] | .who + " " + .verb + " " + .tickets[0]')" "token:olga edit $ticket" 'the audit tells'
worker_up w2
wait_until 30 ledger_has "$id" || true
is "$(sql "select outcome from booking.command where id = '$id'")" applied 'and it applies'
stop_worker w2
ticket=$(ctl dead list --json --text '"resource_id":1' --reason invalid_args | jq -r '.[0].ticket')
is "$(exit_code ctl dead retry "$ticket" --args '{"booking_id":"00000099-0000-4000-8000-000000000099"}')" 0 'bookingctl edits too'
like "$(cat "$T/out")" "id .*:edit:$ticket" 'and says what it goes on as'

# --- many dead letters

redis eval 'local p, now = KEYS[1], 1700000000000
for i = 1, 100000 do
  local t = now + math.floor(i / 100) .. "-" .. (i % 100)
  redis.call("HSET", p .. "job:" .. t, "state", "dead", "id", "many-" .. i, "kind", "booking.cancel", "key", "k" .. i, "args", "{}", "reason",
    i % 1000 == 0 and "poison" or "circuit_open", "error", "e", "died_at", now + math.floor(i / 100))
  redis.call("ZADD", p .. "dead", now + math.floor(i / 100), t)
end' 1 "{$BOOKING_QUEUE}:" >/dev/null
total=$(depth dead)
get '/api/v1/dead?limit=50' >/dev/null
took=$(curl -s -m 10 -H "$(as "$operator_token")" -o "$T/body" -w '%{time_total}' "$admin_url/api/v1/dead?limit=50&order=oldest")
ok "a page of $total takes ${took} s" awk "BEGIN { exit !($took < 0.05) }"
cursor='' seen=0
: >"$T/walk"
while :; do
  get "/api/v1/dead?limit=200&text=many-&since=1970-01-01T00:00:01Z&reason=poison&cursor=$cursor" >/dev/null
  jq -r '.letters[].ticket' "$T/body" >>"$T/walk"
  cursor=$(jq -r .next "$T/body")
  seen=$((seen + 1))
  if [ -z "$cursor" ] || [ $seen -ge 50 ]; then break; fi
done
is "$(sort -u "$T/walk" | wc -l) $(wc -l <"$T/walk")" '100 100' 'a filtered walk finds each once'
rss() { awk '/^VmHWM/ { print $2 }' "/proc/${worker_pid[admin]}/status"; }
rss_before=$(rss)
is "$(get '/api/v1/dead?count=1&reason=circuit_open' && jq .count "$T/body")" 20099900 'all are counted'
ok 'in flat memory' test $(($(rss) - rss_before)) -lt 4096
# Acting while walking shifts nothing: the first page goes away, the second is still the second.
get '/api/v1/dead?limit=20&text=many' >/dev/null
first=$(jq -c '[.letters[].ticket]' "$T/body") cursor=$(jq -r .next "$T/body")
get "/api/v1/dead?limit=20&text=many&cursor=$cursor" >/dev/null
second=$(jq -c '[.letters[].ticket]' "$T/body")
post /api/v1/dead/drop "{\"tickets\":$first}" >/dev/null
get "/api/v1/dead?limit=20&text=many&cursor=$cursor" >/dev/null
is "$(jq -c '[.letters[].ticket]' "$T/body")" "$second" 'acting on a page does not shift the next'

# --- limits

is "$(head -c 600000 /dev/zero | tr '\0' a | call POST /api/v1/login -H "$json" --data-binary @-)" 413 'a body that is too large'
is "$(call GET /api/v1/session -H "X-Long: $(head -c 40000 /dev/zero | tr '\0' a)")" 431 'a head that is too large'
is "$(call DELETE /api/v1/dead/1-1 -H "$(as "$operator_token")")" 405 'a method that is none'
is "$(call GET '/../../etc/passwd' --path-as-is)" 404 'no file but the page'

# A thousand connections that say nothing, or dribble.
"$root/tests/support/slow" "${admin_url#http://127.0.0.1:}" 1000 >"$T/slow.log" 2>&1 &
worker_pid[slow]=$!
ok 'a thousand slow connections are there' wait_until 20 grep -q connected "$T/slow.log"
worst=0
for _ in {1..20}; do
  took=$(curl -s -m 10 -H "$(as "$operator_token")" -o /dev/null -w '%{time_total} %{http_code}' "$admin_url/api/v1/overview")
  worst=$(awk -v a="$worst" -v b="$took" 'BEGIN { split(b, p, " "); print p[2] == 200 ? (p[1] > a ? p[1] : a) : 99 }')
done
ok "and others are answered all the same (slowest ${worst} s)" awk "BEGIN { exit !($worst < 0.5) }"
sleep_until_shown_out() { curl -s -m 5 -o /dev/null "$admin_url/" && [ "$(awk '/closed/ { print $2 }' "$T/slow.log" | tail -n 1)" = 1000 ]; }
ok 'who dribbles is shown out' wait_until 40 sleep_until_shown_out
kill_worker slow

# --- failed logins are slowed and logged

for _ in 1 2 3; do login guess wrong >/dev/null; done
is "$(login guess wrong)" 429 'after three wrong tokens the next has to wait'
like "$(cat "$T/head")" 'Retry-After: [0-9]' 'and is told how long'
is "$(login guess "$operator_token")" 429 'the right one too'
is "$(get /api/v1/overview)" 429 'also as a program'
is "$(call GET /api/v1/session -b "$T/jar-vera")" 200 'who is logged in feels nothing of it'
can_log_in() { [ "$(login again "$operator_token")" = 200 ]; }
ok 'the wait ends' wait_until 20 can_log_in
ok 'the log tells of it' grep -q 'a login has failed' "$T/admin.log"
unlike "$(cat "$T/admin.log")" "$operator_token|$viewer_token" 'and names no token'

# --- Redis away, and the end

deploy_servers() { "$root/deploy/servers" "$@" "$T"; }
deploy_servers redis-kill
is "$(call GET /api/v1/overview -b "$T/jar-vera")" 503 'Redis away: 503'
is "$(call GET / )" 200 'but the page is there'
deploy_servers redis-start
back() { [ "$(call GET /api/v1/overview -b "$T/jar-vera")" = 200 ]; }
ok 'and it goes on by itself' wait_until 20 back
signal_worker admin TERM
wait_exit admin 10
is "$status" 0 'TERM ends it'
done_testing
