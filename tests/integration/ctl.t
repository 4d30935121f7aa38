#!/usr/bin/env bash
# bookingctl as people use it: what it shows, what it asks, what it refuses, and what it says when a server is away.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../support/admin.sh
. "$(dirname "$0")/../support/admin.sh"
servers_up
migrate

# says CODE REGEX NAME ARGUMENT...: the exit code, and what is said on one of the two outputs
says() {
  local code=$1 regex=$2 name=$3
  shift 3
  is "$(exit_code ctl "$@")" "$code" "$name: $code"
  like "$(cat "$T/out" "$T/err")" "$regex" "$name"
}
# on_terminal INPUT ARGUMENT...: the same on a terminal where somebody types; prints what is seen
on_terminal() {
  local input=$1
  shift
  printf '%b' "$input" | script -qec "$(printf '%q ' "$bin/bookingctl" "$@")" /dev/null | tr -d '\r'
}
b() { uuid_of "$1"; }
ledger_like() { [ "$(sql "select count(*) from booking.command where id like '%$1%'")" -ge 1 ]; }

# --- at the door

says 64 'a verb is missing' 'no verb'
says 0 'usage: bookingctl dead list' '--help behind a verb' dead --help
says 0 'usage: bookingctl' '-h' -h
printf 'BOOKING_QUEUE=from-a-file\n' >"$T/env"
env_queue() { env -u BOOKING_QUEUE "$bin/bookingctl" "$@" status --json | jq -r .queue; }
is "$(env_queue --env-file "$T/env")" from-a-file '--env-file FILE'
is "$(env_queue --env-file="$T/env")" from-a-file '--env-file=FILE'
says 64 'unknown option --env-file' '--env-file without a file' --env-file
says 78 'no-such-file' 'a file that is not there' --env-file "$T/no-such-file" status
for verb in migrate enqueue status workers job dead audit pause resume breaker doctor bench; do
  is "$(exit_code ctl $verb --nonsense)" 64 "$verb: an unknown option: 64"
  is "$(wc -l <"$T/err")" 1 "$verb: told in one line"
  case $verb in
    enqueue | job) says 64 'takes one' "$verb: two" $verb one two ;;
    dead) says 64 'unknown verb nonsense' 'dead: a verb that is none' dead nonsense ;;
    *) says 64 'takes' "$verb: an argument too many" $verb one two ;;
  esac
done
says 64 'unknown option --json=yes' 'a flag takes no value' status --json=yes
says 64 '--limit needs a value' 'an option does' audit --limit
for bad in 0 -1 ten 1e3; do says 64 'expected a number from 1 up' "--limit $bad" audit --limit=$bad; done
says 65 "no job \"-x\"" 'behind -- everything is an argument' job -- -x

# --- an empty queue

says 0 'no workers' 'status of nothing' status
like "$(cat "$T/out")" 'could run: none waits' 'and nothing waits'
says 0 'no dead letters' 'dead list of nothing' dead list
says 0 'no dead letters' 'dead retry --all of nothing' dead retry --all
says 0 'no admin has acted yet' 'audit of nothing' audit
says 65 'no job "nobody"' 'a job that never was' job nobody
says 65 'no job "17-0"' 'a ticket that never was' job 17-0
says 65 'no dead letter' 'dead show of nothing' dead show --json 17-0
is "$(exit_code ctl dead show 17-0)" 65 'for people as well'

# --- enqueue

refusal() { { printf '%s\n' "$1" | ctl enqueue - >"$T/out"; } 2>&1 || true; }
line='"id":"e-1","kind":"booking.confirm","args":{"booking_id":"x"}'
while IFS='|' read -r text told; do
  like "$(refusal "$text")" "^line 1 refused: .*$told" "refused: $text"
done <<END
{"id":1,"kind":"k","args":{}}|id: expected a string
{"id":"e","kind":"k","args":{}}|key: missing
{"id":"e","kind":"k","args":{"booking_id":7}}|key: missing
{"id":"e","kind":"k","args":[]}|key: missing
{$line,"not_before":"soon"}|not_before: expected Unix milliseconds
{$line,"expires_at":1.5}|expires_at: expected Unix milliseconds
{$line,"expires_at":-1}|expires_at: expected Unix milliseconds
{$line,"reply":0}|reply: expected 1
{$line,"colour":"red"}|colour.*unknown
{"kind":"k","key":"k","args":{}}|id
{"id":"e","kind":"k","key":"k"}|args
{$line
nonsense|not JSON
END
like "$(printf '{"id":"a\0b"}\n' | ctl enqueue - 2>&1 || true)" 'not JSON at byte 8' 'refused: a NUL byte'
is "$(depth inbox)" 0 'nothing of it is in the queue'
printf '\r\n{%s,"reply":true}\r\n\n{%s,"key":"x","reply":1}' "$line" "$line" >"$T/lines"
says 0 'enqueued 2, refused 0' 'blank lines and carriage returns are passed over' enqueue "$T/lines"
is "$(redis xrange "$(key inbox)" - + | grep -c reply)" 2 'both with their reply'
says 65 'No such file' 'no such file' enqueue "$T/none"
says 65 'Is a directory|No such file' 'a journal that cannot be' enqueue --journal "$T" "$T/lines"
says 65 'Is a directory|No such file' 'also from a pipe' enqueue --journal "$T" - </dev/null
says 69 'journal cannot be written' 'a journal that is full' enqueue --journal /dev/full "$T/lines"
like "$(cat "$T/err")" 'can be enqueued again' 'and what to do then'
is "$(depth inbox)" 2 'nothing was sent without being written down'
for n in {100..900}; do create_line "$n" 1; done >"$T/many"
like "$(on_terminal '' enqueue "$T/many")" '100%  801 enqueued' 'on a terminal it draws how far it is'
redis del "$(key inbox)" >/dev/null
for n in {1..2100}; do create_line "$n" 1; done | ctl enqueue - >/dev/null
says 0 'job web-2099: inbox' 'a job far behind in the inbox is found' job web-2099
redis del "$(key inbox)" >/dev/null
redis config set maxmemory 1 >/dev/null
says 69 'line 2: .*OOM' 'a Redis that is full' enqueue --journal "$T/full" "$T/lines"
like "$(cut -f1 "$T/full" | sort | uniq -c | xargs)" '^2 fail 2 try$' 'is journalled as a failure'
redis config set maxmemory 0 >/dev/null
is "$(depth inbox)" 0 'and it was one'
status_to_full() { ctl status >/dev/full; }
is "$(exit_code status_to_full)" 70 'what cannot be written is no success: 70'

# --- something to look at

fill_queue
worker_up w1 BOOKING_LANES=1
ok '(the queue is worked off)' wait_until 30 drained
fill_lines
at_rest() { depth_is inbox 0 && depth_is active 0 && depth_is waiting 6; }
ok '(and what comes then waits in line)' wait_until 30 at_rest
says 0 'w1 +running +closed' 'workers' workers
says 0 'oldest dead letter' 'status' status
ctl pause >/dev/null
says 0 'PAUSED' 'status, paused' status
ctl resume >/dev/null
like "$(on_terminal '' status)" 'waiting +[0-9]+ +in line behind' 'status on a terminal'
ok 'status --watch goes on until nobody reads' bash -c "'$bin/bookingctl' status --watch | awk '/^queue/ { if (++n == 2) exit }'"
timeout 5 script -qec "$bin/bookingctl status --watch" /dev/null >"$T/watched" </dev/null || true
like "$(cat "$T/watched")" $'\e\\[H\e\\[J' 'and begins anew at the top of a terminal'

says 0 'job web-5: done' 'job' job web-5
like "$(cat "$T/out")" 'applied +20.*by w1, seen 1 times' 'with what the ledger says'
like "$(cat "$T/out")" 'booking 00000005-.*, version 1' 'and of which booking'
ticket=$(sql "select ticket from booking.command where id = 'web-5'")
says 0 "job $ticket: done" 'job by its ticket' job "$ticket"
says 0 'job held-1: retry' 'a job that waits for its next try' job held-1
says 0 'job behind-1-a: waiting' 'one that waits in line' job behind-1-a
line_of() { ctl job "$1" --json | jq -r .ticket; }
says 0 'behind-1-b' 'by its ticket' job "$(line_of behind-1-b)"
dead=$(ctl dead list --json --kind booking.refund | jq -r '.[0].ticket')
says 0 'that is .*no such command' 'a dead letter' dead show "$dead"
like "$(cat "$T/out")" 'what happened to it' 'with its history'
like "$(cat "$T/out")" 'kind +booking.refund' 'and its fields'
like "$(ctl job "$dead" --json | jq -r '.history[0].what')" 'dead|died|taken' 'in JSON too'
reused=$(ctl dead list --json --reason id_reused | jq -r '.[0].ticket')
says 0 'in the ledger' 'the ledger tells of the first of its id' job "$(ctl dead show "$reused" --json | jq -r .id)"

# --- dead list, its filters and limits

deads=$(depth dead)
says 0 'the newest 3; --limit shows more' 'dead list --limit' dead list --limit 3
is "$(ctl dead list | wc -l)" "$deads" 'dead list has them all'
is "$(ctl dead list --json --limit 5 | jq length)" 5 'in JSON as well'
says 64 'there is no reason "sadness"' 'a reason that is none' dead list --reason sadness
for option in since until; do says 64 "--$option: expected RFC 3339" "--$option" dead list --$option yesterday; done
is "$(ctl dead list --json --since 2000-01-01T00:00:00Z --until 0s | jq length)" "$deads" '--since and --until'
is "$(ctl dead list --json --kind booking.refund --key "$(b 53)" | jq length)" 1 '--kind and --key'
says 64 'takes no TICKET' 'dead list TICKET' dead list "$dead"
says 64 'takes filters, no TICKET' 'dead export TICKET' dead export "$dead"
says 64 'takes one TICKET' 'dead show' dead show
says 64 'dead list.*filters' 'dead' dead
like "$(ctl dead export 2>&1 >/dev/null)" '^[0-9]+ left out: malformed' 'dead export says what it leaves out'

# --- what is asked before something is done

says 64 'either TICKETs or --all' 'dead retry' dead retry
says 64 'either TICKETs or --all' 'dead drop TICKET --all' dead drop --all "$dead"
for filter in '--kind k' '--key k' '--text t' '--since 1h' '--until 1h' '--limit 1' '--reason expired'; do
  # shellcheck disable=SC2086 # two words
  says 64 'filters go with --all' "dead drop TICKET $filter" dead drop "$dead" $filter
done
says 64 'give --yes' 'dead drop --all without a terminal' dead drop --all </dev/null
says 0 "would drop $deads dead letters" '--dry-run' dead drop --all --dry-run
for answer in n '' x; do
  like "$(on_terminal "$answer\n" dead drop --all)" "drop $deads dead letters\? \[y/N\].*nothing done" "no is no: '$answer'"
done
is "$(depth dead)" "$deads" 'nothing was dropped'
like "$(on_terminal 'y\n' dead drop "$dead" --why 'no use')" 'y.N. drop: 1 dead letters' 'yes is yes'
redis eval 'for i = 1, 600 do
  local t = i .. "-0"
  redis.call("HSET", KEYS[1] .. "job:" .. t, "state", "dead", "id", "many-" .. i, "kind", "many", "key", "k" .. i, "args", "{}", "reason", "expired", "died_at", i)
  redis.call("ZADD", KEYS[1] .. "dead", i, t)
end' 1 "{$BOOKING_QUEUE}:" >/dev/null
like "$(on_terminal 'y\n' dead drop --all --kind many)" '500 of 600.*600 of 600.*drop: 600 dead letters' 'many go in pieces, and one sees how far it is'
says 65 'drop: 0 dead letters \(the others were not dead any more' 'once' dead drop "$dead" --yes
like "$(ctl audit)" 'drop.*because: no use' 'the audit says why'
is "$(ctl audit --json | jq -r 'first(.[] | select(.why != "" and .why != null)).why')" 'no use' 'in JSON too'
is "$(SUDO_USER=maria exit_code ctl pause; ctl audit --json --limit 1 | jq -r '.[0].who')" $'0\nunix:maria' 'and who it was, behind sudo too'
ctl resume >/dev/null

# --- a letter that is corrected

edited=$(ctl dead list --json --reason invalid_args | jq -r '.[0].ticket')
says 64 'takes no --args' 'dead drop --args' dead drop "$edited" --args '{}'
says 64 'takes one TICKET' 'dead retry --args --all' dead retry --all --args '{}'
says 0 'would put' 'dead retry --args --dry-run' dead retry "$edited" --args '{}' --dry-run
says 65 'args: not JSON' 'args that are no JSON' dead retry "$edited" --args '{no'
says 65 'no dead letter' 'of no letter' dead retry 17-0 --args '{}'
expired=$(ctl dead list --json --reason expired | jq -r '.[0].ticket')
good='{"booking_id":"00000060-0000-4000-8000-000000000060","resource_id":7,"customer_id":1,"starts_at":"2033-01-01T10:00:00Z","ends_at":"2033-01-01T11:00:00Z"}'
says 0 'goes on as .*, id web-.*:edit:' 'a letter whose id was never applied' dead retry "$expired" --args "$good"
ok 'and runs' wait_until 20 ledger_like :edit:

# --- servers that are away

"$root/deploy/servers" pg-stop-fast "$T"
says 0 'the ledger could not be asked' 'job, PostgreSQL away: what the queue knows' job held-1
says 69 'refused|could not connect|does not exist|No such file' 'job that only the ledger may know' job web-5
says 69 'not known, so it stays as it is' 'a letter that may have been applied is not edited then' dead retry \
  "$(ctl dead list --json --reason expired | jq -r '.[0].ticket')" --args "$good"
says 69 'refused' 'bench' bench
"$root/deploy/servers" pg-start "$T" >/dev/null
stop_worker w1
export REDIS_URL=redis://127.0.0.1:1
for verb in status 'status --json' workers 'workers --json' audit 'dead list' 'dead export' 'dead drop 1-1 --yes' 'dead drop --all' \
  'dead retry 1-1 --args {}' 'dead show 1-1 --json' 'dead show 1-1' 'job x' 'job 1-1' pause 'breaker open' bench; do
  # shellcheck disable=SC2086 # several words
  says 69 '127.0.0.1:1: Connection refused' "Redis away: $verb" $verb
done
like "$("$bin/bookingctl" status --watch | awk '/Connection refused/ { print; if (++n == 2) exit }' | wc -l)" '^2$' 'Redis away: status --watch goes on looking'
says 69 'not everything was acknowledged' 'Redis away: enqueue' enqueue "$T/lines"
done_testing
