#!/usr/bin/env bash
# PostgreSQL fails in every way it has, under load: no job is lost, doubled, charged or buried for it, and the workers
# come back by themselves.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

servers_up
migrate

terminate() { sql "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app_worker'"; }

stop_immediate() {
  begin 'stop -m immediate'
  servers pg-stop-immediate
  breakers_open
  servers pg-start
  healed
  recovers
}

stop_fast() {
  begin 'stop -m fast'
  servers pg-stop-fast
  breakers_open
  servers pg-start
  healed
  recovers
}

frozen() {
  local thaw_at
  begin 'frozen for 8 s' BOOKING_STATEMENT_TIMEOUT_MS=1000 BOOKING_LOCK_TIMEOUT_MS=500
  thaw_at=$(($(now_ms) + 8000))
  servers pg-freeze
  breakers_open
  wait_until 20 past "$thaw_at"
  servers pg-thaw
  healed
  fired 'a call ran into its deadline' wait_until 20 log_says 'no answer in time'
  recovers
}

backend_killed() {
  begin 'a backend is killed'
  kill -KILL "$(sql "select pid from pg_stat_activity where usename = 'app_worker' limit 1")"
  fired 'crash recovery' wait_until 20 grep -q 'database system was not properly shut down' "$T/pg/log"
  wait_until 30 sql 'select 1' || bail 'PostgreSQL does not come back'
  healed
  recovers
}

terminated() {
  local count
  begin 'backends are terminated, ten times a second'
  count=$(for _ in {1..100}; do
    echo "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app_worker'; select pg_sleep(0.1) is null;"
  done | psql -XAtq | awk '{ n += $1 } END { print n }')
  fired "$count backends were terminated" test "$count" -ge 10
  healed
  recovers
}

# Somebody else has all connections, the superuser's own included.
occupied=()
occupy() {
  local fd answer
  exec {fd}<>"/dev/tcp/127.0.0.1/$PGPORT" || return 1
  printf '\0\0\0\x28\0\x03\0\0user\0postgres\0database\0booking\0\0' >&"$fd"
  IFS= read -r -n 1 -t 10 answer <&"$fd" || true
  if [ "$answer" = R ]; then occupied+=("$fd"); else exec {fd}>&- && return 1; fi
}
let_all_go() {
  local fd
  for fd in "${occupied[@]}"; do exec {fd}>&-; done
  occupied=()
}
ask() { # over the one connection that is ours
  local line answer=''
  printf '%s;\n\\echo :end\n' "$1" >&"${SESSION[1]}"
  while read -r -t 10 line <&"${SESSION[0]}" && [ "$line" != :end ]; do answer=$line; done
  echo "$answer"
}
nobody_in() {
  ask "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app_worker'" >/dev/null
  while occupy; do :; done
  [ "$(ask "select count(*) from pg_stat_activity where usename = 'app_worker'")" = 0 ]
}
exhausted() {
  local pid
  begin 'no connection left'
  coproc SESSION { exec psql -XAtq 2>&1; }
  pid=$SESSION_PID
  wait_until 20 nobody_in || bail 'the connections cannot be exhausted'
  breakers_open
  fired "${#occupied[@]} connections are taken" grep -Eq 'too many clients|slots are reserved' "$T/pg/log"
  let_all_go
  printf '\\q\n' >&"${SESSION[1]}"
  wait "$pid" || true
  healed
  recovers
}

read_only() {
  begin 'read-only'
  sql 'alter system set default_transaction_read_only = on'
  reload
  breakers_open
  fired 'writes are refused' wait_until 20 log_says '25006|read-only'
  sql 'alter system reset default_transaction_read_only'
  reload
  healed
  recovers
}

# door RULE...: how the role of the workers is let in from now on
door() {
  [ -e "$T/pg_hba" ] || cp "$T/pg/data/pg_hba.conf" "$T/pg_hba"
  { echo "host all app_worker 127.0.0.1/32 ${1:-trust}" && cat "$T/pg_hba"; } >"$T/pg/data/pg_hba.conf"
  reload
}

password() {
  sql "alter role app_worker password 'one'"
  door scram-sha-256
  begin 'another password' DATABASE_URL="${DATABASE_URL/postgres@/app_worker:one@}"
  sql "alter role app_worker password 'two'"
  terminate >/dev/null
  breakers_open
  fired 'the server wants another' wait_until 20 log_says '28P01'
  sql "alter role app_worker password 'one'"
  healed
  recovers
  door trust
}

rejected() {
  begin 'rejected by pg_hba'
  door reject
  terminate >/dev/null
  breakers_open
  fired 'the door is closed' wait_until 20 log_says '28000'
  door trust
  healed
  recovers
}

no_right() {
  begin 'booking.apply may not be called'
  sql 'revoke execute on function booking.apply(jsonb) from booking_worker'
  breakers_open
  fired 'the server refuses' wait_until 20 log_says '42501'
  sql 'grant execute on function booking.apply(jsonb) to booking_worker'
  healed
  recovers
}

# A full disk is told by the statement, in no time at all, over a connection that stays good, and only to who has
# something to write: probes do well.
disk_full() {
  local most
  begin 'disk full' BOOKING_RETRIES=0
  sql "alter function booking.apply(jsonb) rename to apply_for_real;
       create function booking.apply(commands jsonb) returns table (id text, outcome text, code text, version int)
       language plpgsql as \$\$ begin
         if commands <> '[]' then raise 'could not extend file: No space left on device' using errcode = '53100'; end if;
       end \$\$;"
  fired 'the breakers opened' wait_until 60 metric_at_least booking_breaker_transitions_total'{to="open"}' 2
  fired 'the server says so' wait_until 20 log_says '53100'
  most=$(most_requeues)
  ok "$scenario: no job was handed back more than 5 times ($most)" test "$most" -le 5
  sql "drop function booking.apply(jsonb); alter function booking.apply_for_real(jsonb) rename to apply;"
  healed
  recovers
}

# The same, and but one job, which every lane of every worker gets to see.
one_job() {
  local most
  begin 'disk full, one job' BOOKING_RETRIES=0 BOOKING_LANES=8
  stream_down
  wait_until 30 drained
  sql "alter function booking.apply(jsonb) rename to apply_for_real;
       create function booking.apply(commands jsonb) returns table (id text, outcome text, code text, version int)
       language plpgsql as \$\$ begin
         if commands <> '[]' then raise 'could not extend file: No space left on device' using errcode = '53100'; end if;
       end \$\$;"
  awk -v n=1 -v seed=77 -v prefix=one -f "$root/tests/support/commands.awk" >"$T/one"
  ctl enqueue --journal "$T/journal.one" "$T/one" >"$T/out"
  fired 'it was handed back' wait_until 20 metric_at_least booking_jobs_requeued_total 3
  ok "$scenario: and tried on" wait_until 30 metric_at_least booking_jobs_requeued_total 5
  most=$(most_requeues)
  ok "$scenario: not all the time ($most)" test "$most" -le 6
  sql "drop function booking.apply(jsonb); alter function booking.apply_for_real(jsonb) rename to apply;"
  healed
  ok "$scenario: the job is done" wait_until 60 ledger_has one-77-1
  none_suffered
  ok "$scenario: the judge finds nothing" judge "$T"/journal.*
}

hot_resource() {
  begin 'all on one resource' BOOKING_LANES=4
  stream_down
  ctl pause >/dev/null
  wait_until 20 depth_is active 0
  awk -v n=6000 -v seed=99 -v resources=1 -v prefix=hot -f "$root/tests/support/commands.awk" >"$T/hot"
  ctl enqueue --journal "$T/journal.hot" "$T/hot" >"$T/out"
  healed
  ctl resume >/dev/null
  stream_up -v resources=1 -v prefix=hotter -v seed=100
  fired 'they met' wait_until 30 ledger_at_least 3000
  recovers
}

# The waits between probes have doubled to sixteen seconds; the pool sees the server first.
gone_for_long() {
  begin 'gone for long' BOOKING_BREAKER_OPEN_MAX_MS=30000
  servers pg-stop-fast
  breakers_open
  wait_until 40 grep -q 'next probe in 16000 ms' "$T/alice.log" || bail 'the waits do not double'
  wait_until 40 grep -q 'next probe in 16000 ms' "$T/bob.log" || bail 'the waits do not double'
  servers pg-start
  healed
  slack=1 recovers
}

run stop_immediate
run stop_fast
run gone_for_long
run frozen
run backend_killed
run terminated
run exhausted
run read_only
run password
run rejected
run no_right
run disk_full
run one_job
run hot_resource
done_testing
