# shellcheck shell=bash
# What the tests of outages share. A family of scenarios is a file that ends with
#   scenario P3 stop_immediate 'stop -m immediate'    for each function that is one, then
#   run_scenarios "$@"                                all of them, or those named
# and a scenario is a function that does
#   begin [SETTING=VALUE...]   two workers, alice and bob, under a steady stream of journalled commands
#   fired WHAT COMMAND...      the fault; that it fired is a test of its own, and one that never did has failed
#   healed                     the fault is over: the clock runs
#   recovers                   what the workers promise whatever it was that failed
# FAULT_SEED (1) is the course of the random parts. FAULT_LONG=1 asks for the long form. FAULT_SLACK (2) stretches the times
# that are promised, for machines that do other things as well. FAULT_RESULTS names a file that gets a row a scenario:
#   ID title seed checks failed fired sent lost told duplicated unexpected misordered double_booked stranded wrongly_dead
#   recovery_ms seconds           (tab-separated; `lost` is what was lost without being told, `told` what had to be)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

slack=${FAULT_SLACK:-2} seed=${FAULT_SEED:-1}
# shellcheck disable=SC2034 # for the scenarios
long=${FAULT_LONG:-}
scenario='' scenarios=0 stream_pid='' began_at=0
declare -A http=()
# Twice as calm as needed, and no half minute between two probes.
usual=(BOOKING_LANES=2 BOOKING_BATCH=32 BOOKING_BREAKER_OPEN_MAX_MS=2000)

# A queue behind Sentinels is reached by two addresses: redis-cli wants the server's, our programs the Sentinels'.
queue_url=''
ctl() { REDIS_URL=${queue_url:-$REDIS_URL} "$bin/bookingctl" "$@"; }

# --- the scenarios of a file

scenario_ids=()
declare -A scenario_function=() scenario_title=()
# scenario ID FUNCTION TITLE
scenario() {
  scenario_ids+=("$1")
  scenario_function[$1]=$2 scenario_title[$1]=$3
}

# run_scenarios [ID...]: an ID may leave out the letter behind the number, and means all of them then, but for =ID
run_scenarios() {
  local id only=" $* "
  if [ "$*" = --list ]; then
    for id in "${scenario_ids[@]}"; do printf '%-5s %s\n' "$id" "${scenario_title[$id]}"; done
    return
  fi
  servers_up
  migrate
  ! declare -F family_up >/dev/null || family_up
  for id in "${scenario_ids[@]}"; do
    [ $# -eq 0 ] || [[ ${only//=/} == *" $id "* ]] || [[ $only == *" ${id%[a-z]} "* ]] || continue
    run_scenario "$id"
  done
  clean_up
  done_testing
}

run_scenario() {
  local began=$SECONDS checks=$tap_run failed=$tap_failed
  scenario="$1 ${scenario_title[$1]}"
  scenarios=$((scenarios + 1))
  RANDOM=$seed
  faults_fired=0 recovery_ms=- verdict='{}' told=no
  "${scenario_function[$1]}"
  ok "$scenario: the fault fired" test "$faults_fired" -gt 0
  [ -n "${FAULT_RESULTS:-}" ] || return 0
  jq -r --arg told $told '[.sent.ok // 0, (if $told == "yes" then 0, .counts.lost else .counts.lost, 0 end),
    .counts.duplicated, .counts.unexpected, .counts.misordered, .counts.double_booked, .counts.stranded, .counts.wrongly_dead]
    | map(. // "-") | @tsv' <<<"$verdict" | {
    IFS=$'\t' read -r -a counts
    (IFS=$'\t' && echo "$1	${scenario_title[$1]}	$seed	$((tap_run - checks))	$((tap_failed - failed))	$faults_fired	${counts[*]}	$recovery_ms	$((SECONDS - began))")
  } >>"$FAULT_RESULTS"
}

# chance N: 0..N-1, of this scenario's random numbers
chance() { echo $((RANDOM % $1)); }
# A fault does not always come at the same point of the stream: up to N ms, by chance.
some_time() { sleep "$(awk -v ms="$((RANDOM % $1))" 'BEGIN { print ms / 1000 }')"; }

# --- the stream

STREAM_PIECE=40

# shellcheck disable=SC2120
# stream_up [AWK-OPTION...]: 40 commands about eight times a second, until told to stop. What can't be sent is journalled
# as such and not sent again.
stream_up() {
  rm -rf "$T/stream" "$T/stream.stop"
  mkdir "$T/stream"
  awk -v n=20000 -v seed=$((seed * 1009 + scenarios)) -v resources=40 -v prefix="s$scenarios" "$@" \
    -f "$root/tests/support/commands.awk" | split -l $STREAM_PIECE -d -a 4 - "$T/stream/"
  stream >"$T/stream.log" 2>&1 &
  stream_pid=$! helper_pid[stream]=$!
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
    sleep "${STREAM_PAUSE:-0.1}" # the pace
  done
}

stream_runs() { [ -n "$stream_pid" ] && kill -0 "$stream_pid" 2>/dev/null; }

stream_down() {
  [ -n "$stream_pid" ] || return 0
  : >"$T/stream.stop"
  wait "$stream_pid" || true
  stream_pid=''
  unset 'helper_pid[stream]'
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

# rests_allow: how often, since the scenario began, a job may have been handed back: from the third time on it rests for
# 1, 2, 4 ... 30 seconds (rest_ms in common/queue.lua)
rests_allow() {
  awk -v ms=$(($(now_ms) - began_at)) 'BEGIN {
    for (rest = 1000; ms >= rest; rest = rest < 15000 ? 2 * rest : 30000) { ms -= rest; rests++ }
    print 3 + rests
  }'
}

# Not more often than that, the job that was handed back most.
handed_back_rarely() {
  local most
  most=$(most_requeues) # before the clock is read
  ok "$scenario: no job was handed back more often than its rests allow ($most)" test "$most" -le "$(rests_allow)"
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

# two_workers [SETTING=VALUE...]: not waiting until they are ready, which takes a database
two_workers() {
  local name
  for name in alice bob; do
    http[$name]=$(free_port)
    worker_up "$name" "${usual[@]}" ${queue_url:+"REDIS_URL=$queue_url"} BOOKING_HTTP="127.0.0.1:${http[$name]}" "$@"
  done
}

# shellcheck disable=SC2120 # with settings or without
begin() {
  clean_up
  two_workers "$@"
  wait_until 20 all_ready 200 || bail 'the workers are not ready'
  began_at=$(now_ms)
  # shellcheck disable=SC2119
  stream_up
  wait_until 30 ledger_at_least 80 || bail "$scenario: nothing happens: $(tail -n 5 "$T/stream.log" "$T/alice.log")"
  some_time 500
}

# breakers_open: the fault is one of PostgreSQL that is noticed; from here on nothing is taken.
breakers_open() {
  fired 'both breakers opened' wait_until 40 all_ready 503
  ok "$scenario: nothing is held any more" wait_until 20 depth_is active 0
  handed_back_rarely
}

# breakers_opened: the same where probes do well (a full disk, a standby that hangs): a breaker that has opened closes again
# before long, so both need not be open at one moment.
breakers_opened() {
  fired 'both breakers opened' wait_until 60 each_opened
  handed_back_rarely
}
each_opened() {
  local port
  for port in "${http[@]}"; do
    grep -q '^booking_breaker_transitions_total{to="open"} [1-9]' <(curl -sf -m 5 "http://127.0.0.1:$port/metrics") || return 1
  done
}

fired() { # fired WHAT COMMAND...
  local failed=$tap_failed
  ok "$scenario: it fired: $1" "${@:2}"
  [ $tap_failed -gt $failed ] || faults_fired=$((faults_fired + 1))
}

healed() { healed_at=$(now_ms); }

# At most as much in the queue as a second of the stream, and something was done since the fault was over.
caught_up() {
  [ "$(ctl status --json | jq '.inbox + .ready + .waiting + .active + .retry')" -lt 300 ] &&
    [ "$(sql "select count(*) from booking.command where applied_at > to_timestamp($healed_at / 1e3)")" -gt 0 ]
}

back_at_work() {
  ok "$scenario: the stream had gone on" stream_runs
  if wait_until $((10 * slack)) caught_up; then
    recovery_ms=$(($(now_ms) - healed_at))
    ok "$scenario: at full speed $recovery_ms ms after the healing" true
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
  judged
}

# Nothing is wrong, and the counts go into the results. `expect_dead=REASON judged` if some had to die of that.
judged() {
  local status=0
  "$root/tests/support/judge" --json ${expect_dead:+--expect-dead "$expect_dead"} "$T"/journal.* >"$T/verdict" 2>&1 || status=$?
  verdict=$(tail -n 1 "$T/verdict")
  ok "$scenario: the judge finds nothing" test $status -eq 0
  [ $status -eq 0 ] || diag "$(cut -c 1-4000 "$T/verdict")"
}

# What was in the queue is gone, and the judge says so; that is all. told_lost [AT-LEAST]
told_lost() {
  verdict=$("$root/tests/support/judge" --json "$T"/journal.* | tail -n 1 || true)
  told=yes
  is "$(jq -c '.counts | del(.lost) | with_entries(select(.value != 0))' <<<"$verdict")" '{}' \
    "$scenario: nothing is doubled, misordered or stranded"
  [ $# -eq 0 ] ||
    ok "$scenario: what was lost is counted: $(jq .counts.lost <<<"$verdict")" test "$(jq .counts.lost <<<"$verdict")" -ge "$1"
}

past() { [ "$(now_ms)" -ge "$1" ]; }

servers() { "$root/deploy/servers" "$1" "$T" || bail "deploy/servers $1"; }
