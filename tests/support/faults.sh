# shellcheck shell=bash
# What the tests of outages share. A scenario is
#   begin NAME [SETTING=VALUE...]   two workers, alice and bob, under a steady stream of journalled commands
#   ...                             the fault; that it fired is a test of its own
#   healed                          the fault is over: the clock runs
#   recovers                        what the workers promise whatever it was that failed
# A file of scenarios runs them all, or the one named as its argument. FAULT_SLACK (2) stretches the times that are promised, for machines that do other things as well.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

only=${1:-}
slack=${FAULT_SLACK:-2}
scenario='' scenarios=0 stream_pid=''
declare -A http=()
# Twice as calm as needed, and no half minute between two probes.
usual=(BOOKING_LANES=2 BOOKING_BATCH=32 BOOKING_BREAKER_OPEN_MAX_MS=2000)

# A queue behind Sentinels is reached by two addresses: redis-cli wants the server's, our programs the Sentinels'.
queue_url=''
ctl() { REDIS_URL=${queue_url:-$REDIS_URL} "$bin/bookingctl" "$@"; }

# --- the stream

STREAM_PIECE=40

# shellcheck disable=SC2120
# stream_up [AWK-OPTION...]: 40 commands about eight times a second, until told to stop. What can't be sent is journalled
# as such and not sent again.
stream_up() {
  rm -rf "$T/stream" "$T/stream.stop"
  mkdir "$T/stream"
  awk -v n=20000 -v seed=$((4711 + scenarios)) -v resources=40 -v prefix="s$scenarios" "$@" \
    -f "$root/tests/support/commands.awk" | split -l $STREAM_PIECE -d -a 4 - "$T/stream/"
  stream >"$T/stream.log" 2>&1 &
  stream_pid=$!
}

stream() {
  local file base=0 journal
  journal=$T/journal.$(now_ms)
  for file in "$T"/stream/*; do
    [ ! -e "$T/stream.stop" ] || break
    ctl enqueue --journal "$T/stream/journal" "$file" || true
    # the lines of a journal are told apart by their numbers
    awk -F '\t' -v OFS='\t' -v base=$base '{ $2 += base } 1' "$T/stream/journal" >>"$journal"
    rm -f "$T/stream/journal"
    base=$((base + STREAM_PIECE))
    sleep 0.1 # the pace
  done
}

stream_runs() { [ -n "$stream_pid" ] && kill -0 "$stream_pid" 2>/dev/null; }

stream_down() {
  [ -n "$stream_pid" ] || return 0
  : >"$T/stream.stop"
  wait "$stream_pid" || true
  stream_pid=''
}

# --- the workers

all_ready() { # all_ready CODE
  local port
  for port in "${http[@]}"; do readyz "$port" "$1" || return 1; done
}

all_live() {
  local port
  for port in "${http[@]}"; do
    [ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/livez")" = 200 ] || return 1
  done
}

# metric NAME: the sum, over the workers, of the samples that begin like this
metric() {
  local port
  for port in "${http[@]}"; do curl -sf -m 5 "http://127.0.0.1:$port/metrics" || echo "no answer on $port"; done |
    awk -v name="$1" '/^no answer/ { print; exit } index($1, name) == 1 { found = 1; n += $2 } END { print found ? n : "nothing" }'
}
metric_is() { [ "$(metric "$1")" = "$2" ]; }
metric_at_least() { [ "$(metric "$1")" -ge "$2" ]; }

# log_says REGEX: one of the workers has said it since the scenario began
log_says() { grep -Eq "$1" "$T"/alice.log "$T"/bob.log; }

reload() { sql "select pg_reload_conf()" >/dev/null; } # of PostgreSQL's settings

# The most often that one of the jobs that wait has been handed back.
most_requeues() {
  redis eval "local most = 0
    for _, key in ipairs(redis.call('keys', ARGV[1])) do
      most = math.max(most, tonumber(redis.call('hget', key, 'requeues') or 0))
    end
    return most" 0 "$(key 'job:*')"
}

# --- a scenario

clean_up() { # nothing is left of the scenario before
  local name
  stream_down
  for name in "${!worker_pid[@]}"; do
    stop_worker "$name"
    [ "$status" = 0 ] || bail "$name ends with $status: $(tail -n 5 "$T/$name.log")"
  done
  http=()
  rm -f "$T"/journal.* "$T"/*.log
  redis flushall >/dev/null
  sql 'truncate booking.command, booking.booking'
}

# two_workers [SETTING=VALUE...]
two_workers() {
  local name
  for name in alice bob; do
    http[$name]=$(free_port)
    worker_up "$name" "${usual[@]}" ${queue_url:+"REDIS_URL=$queue_url"} BOOKING_HTTP="127.0.0.1:${http[$name]}" "$@"
  done
  wait_until 20 all_ready 200 || bail 'the workers are not ready'
}

begin() {
  scenario=$1
  scenarios=$((scenarios + 1))
  shift
  clean_up
  two_workers "$@"
  # shellcheck disable=SC2119
  stream_up
  wait_until 30 ledger_at_least 200 || bail "$scenario: nothing happens: $(tail -n 5 "$T/stream.log" "$T/alice.log")"
}

# breakers_open: the fault is one of PostgreSQL that is noticed; from here on nothing is taken.
breakers_open() {
  fired 'both breakers opened' wait_until 40 all_ready 503
  ok "$scenario: nothing is held any more" wait_until 20 depth_is active 0
  local most
  most=$(most_requeues)
  ok "$scenario: no job was handed back more than 5 times ($most)" test "$most" -le 5
}

fired() { ok "$scenario: it fired: $1" "${@:2}"; } # fired WHAT COMMAND...

healed() { healed_at=$(now_ms); }

# At most as much in the queue as a second of the stream, and something was done since the fault was over.
caught_up() {
  [ "$(ctl status --json | jq '.inbox + .ready + .waiting + .active + .retry')" -lt 300 ] &&
    [ "$(sql "select count(*) from booking.command where applied_at > to_timestamp($healed_at / 1e3)")" -gt 0 ]
}

back_at_work() {
  ok "$scenario: the stream had gone on" stream_runs
  if wait_until $((10 * slack)) caught_up; then
    ok "$scenario: at full speed $(($(now_ms) - healed_at)) ms after the healing" true
  else
    ok "$scenario: at full speed within 10 s of the healing: $(ctl status --json | jq -c 'del(.workers)')" false
  fi
  stream_down
  ok "$scenario: the queue drains" wait_until 60 drained
}

none_suffered() {
  local name
  for name in alice bob; do ok "$scenario: $name still runs" kill -0 "${worker_pid[$name]}"; done
  ok "$scenario: /livez says 200" all_live
  ok "$scenario: /readyz says 200 again" wait_until 30 all_ready 200
  ok "$scenario: both breakers are closed" wait_until 30 metric_is booking_breaker_state'{state="closed"}' 2
  is "$(metric booking_jobs_retried_total)" 0 "$scenario: no attempt was spent"
  is "$(depth dead)" 0 "$scenario: nobody died of it"
}

recovers() {
  back_at_work
  none_suffered
  ok "$scenario: the judge finds nothing" judge "$T"/journal.*
}

past() { [ "$(now_ms)" -ge "$1" ]; }

run() { if [ -z "$only" ] || [ "$only" = "$1" ]; then "$1"; fi; }

servers() { "$root/deploy/servers" "$1" "$T" || bail "deploy/servers $1"; }
