# shellcheck shell=bash
# What the integration tests (and the demo) share: private servers, workers as child processes, waiting for events, and TAP.
# A test begins with
#   . "$(dirname "$0")/../support/lib.sh"
#   servers_up && migrate
# and everything it started is gone when its shell ends. KEEP=1 leaves the folder with the logs.
# Bash only; set -euo pipefail is expected of the caller.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$(realpath -m "${BUILD_DIR:-$root/build}")/bin
declare -A worker_pid=() helper_pid=() # helpers are what a test runs beside the workers
T=''

# --- TAP

tap_run=0 tap_failed=0

diag() { printf '%s\n' "$*" | sed 's/^/# /'; }

# ok NAME COMMAND...: the command succeeds
ok() {
  local name=$1 output
  shift
  tap_run=$((tap_run + 1))
  if output=$("$@" 2>&1); then
    echo "ok $tap_run - $name"
  else
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_run - $name"
    diag "failed: $*"
    [ -z "$output" ] || diag "$output"
  fi
}

# is GOT WANTED NAME
is() {
  tap_run=$((tap_run + 1))
  if [ "$1" = "$2" ]; then
    echo "ok $tap_run - $3"
  else
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_run - $3"
    diag "     got: $1"
    diag "expected: $2"
  fi
}

# like GOT REGEX NAME (a POSIX extended one)
like() {
  if [[ $1 =~ $2 ]]; then is yes yes "$3"; else is "$1" "something like $2" "$3"; fi
}

unlike() {
  if [[ $1 =~ $2 ]]; then is "$1" "nothing like $2" "$3"; else is yes yes "$3"; fi
}

done_testing() {
  echo "1..$tap_run"
  [ $tap_failed -eq 0 ]
}

bail() {
  echo "Bail out! $*"
  exit 70
}

# exit_code COMMAND...: prints the exit code; what the command said is in $T/out and $T/err
exit_code() {
  local status=0
  "$@" >"$T/out" 2>"$T/err" || status=$?
  echo $status
}

# --- waiting

# wait_until SECONDS COMMAND...: polls the command until it succeeds; 1 if the deadline passes first
wait_until() {
  local poll=0.03 deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep "$poll"
  done
}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# --- servers

# servers_up: private servers in $T, a new folder unless it is set; sets the environment
servers_up() {
  T=${T:-$(mktemp -d /tmp/booking-test.XXXXXX)}
  trap tear_down EXIT
  "$root/deploy/servers" start "$T" || bail 'no servers'
  servers_env
}

# After a restart of one of them the pids have changed.
servers_env() {
  eval "$("$root/deploy/servers" env "$T")"
  export BOOKING_QUEUE=booking
}

tear_down() {
  local status=$? name pid
  trap - EXIT
  for name in "${!worker_pid[@]}"; do
    pid=${worker_pid[$name]}
    kill -CONT "$pid" 2>/dev/null || true
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  for pid in "${helper_pid[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  "$root/deploy/servers" stop "$T" || true
  if [ "${KEEP:-}" = 1 ]; then diag "kept: $T" >&2; else rm -rf "$T"; fi
  exit $status
}

sql() { psql -XAtq -v ON_ERROR_STOP=1 -c "$1"; }
redis() { redis-cli --no-auth-warning -u "$REDIS_URL" "$@"; }
ctl() { "$bin/bookingctl" "$@"; }

# migrate: the schema, forty resources and one (99) that is inactive, and the role that workers log in with
migrate() {
  [ -x "$bin/bookingctl" ] || bail "no $bin/bookingctl: build first"
  ctl migrate >"$T/migrate.log" 2>&1 || { diag "$(cat "$T/migrate.log")" && bail 'migrate failed'; }
  sql "insert into booking.resource (id, name, active) select g, 'Table ' || g, true from generate_series(1, 40) g;
       insert into booking.resource (id, name, active) values (99, 'closed', false) on conflict do nothing;
       create role app_worker login in role booking_worker;"
}

worker_database_url() { echo "${DATABASE_URL/postgres@/app_worker@}"; }

# --- the queue

key() { echo "{$BOOKING_QUEUE}:$1"; }

# count of jobs in a place (inbox ready waiting active scheduled retry dead), as bookingctl says
depth() { ctl status --json | jq -e ".$1"; }
depth_is() { [ "$(depth "$1")" = "$2" ]; }

# Nothing left anywhere but among the dead. The counts stand before the workers.
drained() {
  ctl status --json | tr -d ' \n' | sed 's/"workers":.*//' |
    grep -oE '"(inbox|ready|waiting|active|scheduled|retry)":[0-9]+' | awk -F: '{ n += $2 } END { exit !(NR == 6 && n == 0) }'
}

ledger_has() { [ "$(sql "select count(*) from booking.command where id = '$1'")" = 1 ]; }
ledger_at_least() { [ "$(sql 'select count(*) from booking.command')" -ge "$1" ]; }

# --- workers

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# readyz PORT CODE
readyz() { [ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$1/readyz")" = "$2" ]; }

# start_worker NAME [SETTING=VALUE...]: its log is $T/NAME.log
start_worker() {
  local name=$1
  shift
  # shellcheck disable=SC2093 # in a subshell of its own
  (exec env DATABASE_URL="$(worker_database_url)" BOOKING_WORKER_NAME="$name" BOOKING_HTTP=off BOOKING_LOG_FORMAT=json "$@" \
    "$bin/booking-worker") </dev/null >>"$T/$name.log" 2>&1 &
  worker_pid[$name]=$!
}

# A worker is one of the queue's while it has a lease; its incarnation is called name@something.
worker_listed() { redis zrange "$(key workers)" 0 -1 | grep -q "^$1@"; }
worker_unlisted() { ! worker_listed "$1"; }

# worker_up NAME ...: starts it and waits until it is one of the queue's workers
worker_up() {
  start_worker "$@"
  wait_until 20 worker_listed "$1" || { diag "$(tail -n 20 "$T/$1.log")" && bail "worker $1 does not come up"; }
}

signal_worker() { kill "-$2" "${worker_pid[$1]}"; }

worker_ended() { ! kill -0 "${worker_pid[$1]}" 2>/dev/null; }

# wait_exit NAME SECONDS: sets `status` to its exit code; 124 if it is still there
wait_exit() {
  status=0
  wait_until "$2" worker_ended "$1" || { status=124 && return 0; }
  wait "${worker_pid[$1]}" 2>/dev/null || status=$?
  unset "worker_pid[$1]"
}

kill_worker() { # kill -9 and reaped
  signal_worker "$1" KILL
  wait "${worker_pid[$1]}" 2>/dev/null || true
  unset "worker_pid[$1]"
}

kill_helper() { # of helper_pid
  kill -KILL "${helper_pid[$1]}" 2>/dev/null || true
  wait "${helper_pid[$1]}" 2>/dev/null || true
  unset "helper_pid[$1]"
}

stop_worker() {
  signal_worker "$1" TERM
  wait_exit "$1" 30
}

# hold STATEMENT / let_go: a second session that holds a lock until told otherwise
hold() {
  local _
  coproc HOLDER { exec psql -XAtq -v ON_ERROR_STOP=1 2>&1; }
  printf 'begin;\n%s;\n\\echo held\n' "$1" >&"${HOLDER[1]}"
  read -r -t 10 _ <&"${HOLDER[0]}" || bail "can't hold: $1"
}

let_go() {
  # shellcheck disable=SC2153 # set by coproc
  local pid=$HOLDER_PID
  printf 'rollback;\n\\q\n' >&"${HOLDER[1]}"
  wait "$pid" 2>/dev/null || true
}

# judge JOURNAL...: its table as diagnostics, its verdict as exit code
judge() {
  local status=0
  "$root/tests/support/judge" "$@" >"$T/verdict" 2>&1 || status=$?
  diag "$(cat "$T/verdict")"
  return $status
}
