#!/usr/bin/env bash
# PostgreSQL fails in every way it has, under load: no job is lost, doubled, charged or buried for it, and the workers
# come back by themselves.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"
# shellcheck source-path=SCRIPTDIR source=../support/proxy.sh
. "$(dirname "$0")/../support/proxy.sh"

# Its files cannot grow while $T/full exists.
export FAULT_DISK_FLAG='' FAULT_DISK_MATCH=/base/
servers_up() {
  T=$(mktemp -d /tmp/booking-test.XXXXXX)
  trap tear_down EXIT
  cp "$(test_program fault-disk.so)" "$T/" # where the user postgres can read it
  chmod go+rx "$T"
  FAULT_DISK_FLAG=$T/full
  LD_PRELOAD=$T/fault-disk.so "$root/deploy/servers" start "$T" || bail 'no servers'
  servers_env
}
pg_start() { LD_PRELOAD=$T/fault-disk.so servers pg-start; }

terminate() { sql "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app_worker'"; }

# --- P1, P2: between the worker and the database

# One worker and its way to the database through a proxy; deadlines that a sweep can wait for. Nothing runs but what the
# scenario itself enqueues.
through_proxy() {
  clean_up
  proxy_up pg pg "127.0.0.1:$PGPORT"
  http[alice]=$(free_port)
  worker_up alice BOOKING_HTTP="127.0.0.1:${http[alice]}" BOOKING_LANES=1 BOOKING_BATCH=8 BOOKING_RETRY_BASE_MS=10 \
    BOOKING_STATEMENT_TIMEOUT_MS=400 BOOKING_LOCK_TIMEOUT_MS=200 BOOKING_CONNECT_TIMEOUT_MS=500 \
    BOOKING_POOL_ACQUIRE_TIMEOUT_MS=1000 BOOKING_BREAKER_OPEN_MS=100 BOOKING_BREAKER_OPEN_MAX_MS=200 \
    BOOKING_POOL_MAX=2 BOOKING_POOL_MIN=2 DATABASE_URL="postgresql://app_worker@127.0.0.1:${proxy_port[pg]}/booking" "${@//PORT/${proxy_port[pg]}}"
}

# The Parse of a batch, its first message; the breaker's probes have other words.
# shellcheck disable=SC2016 # no variable
batch_begins='from=booking.apply($1'

# batch [KIND]: eight commands, in the queue at once
batches=0
batch() {
  batches=$((batches + 1))
  awk -v n=80 -v twice=0 -v seed=$((seed * 1009 + batches)) -v resources=40 -v prefix="b$batches" \
    -f "$root/tests/support/commands.awk" | awk -v kind="${1:-booking}" 'index($0, kind) && n++ < 8' >"$T/batch"
  ctl pause >/dev/null
  ctl enqueue --journal "$T/journal.$batches" "$T/batch" >/dev/null || bail 'enqueue'
}

# A batch goes to the server as five messages, and comes back as thirteen, one of them for each job: each is cut, before
# it has passed and behind it, with a reset, in good order, or by silence. The short form takes some of them by chance.
cut_sweep() {
  local cuts=() at when how chosen
  through_proxy
  for how in rst fin silence; do
    for when in before after; do
      for at in {1..5}; do cuts+=("side=client at=$at when=$when how=$how"); done
      for at in {1..13}; do cuts+=("side=server at=$at when=$when how=$how"); done
    done
  done
  [ -n "$long" ] || {
    mapfile -t chosen < <(for _ in {1..14}; do echo "${cuts[RANDOM % ${#cuts[@]}]}"; done | sort -u)
    # and always the one that leaves a transaction behind which waits for the end of its message
    cuts=("${chosen[@]}" 'side=client at=5 when=before how=silence')
  }
  for cut in "${cuts[@]}"; do
    batch
    # shellcheck disable=SC2086 # words
    arm pg cut $cut "$batch_begins"
    ctl resume >/dev/null
    if has_fired pg 10 >/dev/null; then faults_fired=$((faults_fired + 1)); else fired "$cut" false; fi
    healed
    ok "$scenario: $cut: the batch is done" wait_until 30 drained
    tell pg heal >/dev/null
  done
  recovery_ms=$(($(now_ms) - healed_at))
  is "$(metric booking_jobs_retried_total)" 0 "$scenario: no attempt was spent"
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# The answer comes when the worker has given up on it. Two lanes have one connection between them: the second must not take
# the first one's answer for its own.
late_answer() {
  local at
  through_proxy BOOKING_LANES=2 BOOKING_POOL_MAX=1 BOOKING_POOL_MIN=1
  for at in 1 4 13; do
    batch booking.create
    batch booking.create
    arm pg delay side=server at=$at ms=1100 "$batch_begins"
    ctl resume >/dev/null
    fired "answer $at is late" has_fired pg 10
    healed
    ok "$scenario: both batches are done" wait_until 30 drained
    tell pg heal >/dev/null
  done
  recovery_ms=$(($(now_ms) - healed_at))
  fired 'a call ran into its deadline' grep -q 'no answer in time' "$T/alice.log"
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# The request itself comes late: the worker has given up, the batch has been applied by another call, and now the
# old one arrives, whole.
# (A session that was given up is ended by the next connection, but behind PgBouncer nobody knows which one it was.)
late_request() {
  through_proxy DATABASE_URL='postgresql://app_worker@127.0.0.1:PORT/booking?pgbouncer=true'
  batch
  arm pg delay side=client at=1 ms=1500 "$batch_begins"
  ctl resume >/dev/null
  fired 'the batch is late' has_fired pg 10
  healed
  ok "$scenario: the batch is done all the same" wait_until 30 drained
  recovery_ms=$(($(now_ms) - healed_at))
  ok "$scenario: and has arrived twice" wait_until 10 arrived_twice
  judged
}
arrived_twice() { [ "$(sql 'select count(*) from booking.command where deliveries > 1')" -gt 0 ]; }

# --- P3 and on: the server itself

stop_immediate() {
  begin
  servers pg-stop-immediate
  breakers_open
  pg_start
  healed
  recovers
}

stop_fast() {
  begin
  servers pg-stop-fast
  breakers_open
  pg_start
  healed
  recovers
}

frozen() {
  local thaw_at
  begin BOOKING_STATEMENT_TIMEOUT_MS=1000 BOOKING_LOCK_TIMEOUT_MS=500
  thaw_at=$(($(now_ms) + 5000))
  servers pg-freeze
  breakers_open
  wait_until 20 past "$thaw_at"
  servers pg-thaw
  healed
  fired 'a call ran into its deadline' wait_until 20 log_says 'no answer in time'
  recovers
}

backend_killed() {
  begin
  kill -KILL "$(sql "select pid from pg_stat_activity where usename = 'app_worker' limit 1")"
  fired 'crash recovery' wait_until 20 grep -q 'database system was not properly shut down' "$T/pg/log"
  wait_until 30 sql 'select 1' || bail 'PostgreSQL does not come back'
  healed
  recovers
}

terminated() {
  local count
  begin
  count=$(for _ in {1..100}; do
    echo "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app_worker'; select pg_sleep(0.1) is null;"
  done | psql -XAtq | awk '{ n += $1 } END { print n }')
  fired "$count backends were terminated" test "$count" -ge 10
  healed
  recovers
}

canceled() {
  local count
  begin BOOKING_BATCH=8
  count=$(for _ in {1..60}; do
    echo "select count(pg_cancel_backend(pid)) from pg_stat_activity where usename = 'app_worker' and state = 'active'; select pg_sleep(0.05) is null;"
  done | psql -XAtq | awk '{ n += $1 } END { print n }')
  fired "$count statements were cancelled" test "$count" -ge 1
  healed
  back_at_work
  # a cancelled statement looks like our own timeout: attempts may have been spent, but nobody dies of it
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
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
  begin
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
  begin
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
  begin DATABASE_URL="${DATABASE_URL/postgres@/app_worker:one@}"
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
  begin
  door reject
  terminate >/dev/null
  breakers_open
  fired 'the door is closed' wait_until 20 log_says '28000'
  door trust
  healed
  recovers
}

no_right() {
  begin
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
  begin BOOKING_RETRIES=0
  : >"$T/full"
  breakers_opened
  fired 'the server says so' wait_until 20 log_says '53100'
  rm "$T/full"
  healed
  recovers
}

# The same, and but one job, which every lane of every worker gets to see.
one_job() {
  begin BOOKING_RETRIES=0 BOOKING_LANES=8
  stream_down
  wait_until 30 drained
  # so full that a single row finds no place
  sql 'vacuum full booking.booking'
  sql 'vacuum full booking.command'
  : >"$T/full"
  awk -v n=60 -v seed=77 -v prefix=one -f "$root/tests/support/commands.awk" >"$T/one"
  ctl enqueue --journal "$T/journal.one" "$T/one" >"$T/out"
  fired 'it was handed back' wait_until 20 metric_at_least booking_jobs_requeued_total 3
  handed_back_rarely
  rm "$T/full"
  healed
  ok "$scenario: the jobs are done" wait_until 60 drained
  recovery_ms=$(($(now_ms) - healed_at))
  none_suffered
  judged
}

# Somebody else locks the same bookings, the latest ones, in the other direction and without haste.
deadlocks() {
  sql 'alter system set deadlock_timeout = 20'
  reload
  begin BOOKING_LANES=4 BOOKING_BATCH=32
  while sleep 0.01; do
    echo "begin; do \$\$ declare i uuid; begin
      for i in select id from booking.booking order by id desc limit 80 loop
        perform pg_sleep(0.0005) from booking.booking where id = i for update;
      end loop;
      exception when deadlock_detected then null; end \$\$; rollback;"
  done | PGUSER=postgres psql -XAtq >"$T/rival.out" 2>&1 &
  helper_pid['rival']=$!
  fired 'they met' wait_until 30 deadlocked 2
  kill_helper rival
  healed
  back_at_work
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
  sql 'alter system reset deadlock_timeout'
  reload
}
deadlocked() { [ "$(grep -c 'deadlock detected' "$T/pg/log")" -ge "$1" ]; }

# The waits between probes have doubled to sixteen seconds; the pool sees the server first.
gone_for_long() {
  begin BOOKING_BREAKER_OPEN_MAX_MS=30000
  servers pg-stop-fast
  breakers_open
  wait_until 40 grep -q 'next probe in 16000 ms' "$T/alice.log" || bail 'the waits do not double'
  wait_until 40 grep -q 'next probe in 16000 ms' "$T/bob.log" || bail 'the waits do not double'
  pg_start
  healed
  slack=1 recovers
}

# The log of the database cannot grow: PANIC, and it does not come up again until somebody has made room.
log_full() {
  begin
  FAULT_DISK_MATCH=/pg_wal/
  servers pg-stop-fast # the servers' environment is that of their start
  pg_start
  wait_until 30 all_ready 200 || bail 'the workers do not come back'
  : >"$T/full"
  for _ in {1..20}; do psql -XAtqc 'select pg_switch_wal(); create table x(); drop table x' >/dev/null 2>&1 || break; done
  fired 'the server panics' wait_until 30 grep -q 'PANIC.*No space left on device' "$T/pg/log"
  breakers_open
  rm "$T/full"
  servers pg-stop-immediate
  FAULT_DISK_MATCH=/base/
  pg_start
  healed
  recovers
}

# The server ends sessions that idle, inside a transaction or out of one. Ours are never the former.
idle_timeouts() {
  local ended
  sql "alter role app_worker set idle_session_timeout = '150ms'; alter role app_worker set idle_in_transaction_session_timeout = '20ms'"
  STREAM_PAUSE=0.4 begin BOOKING_LANES=1
  wait_until 20 grep -q 'idle-session timeout' "$T/pg/log" || true
  ended=$(grep -c 'terminating connection due to idle-session timeout' "$T/pg/log" || true)
  fired "$ended sessions were ended" test "$ended" -gt 0
  is "$(grep -c 'due to idle-in-transaction timeout' "$T/pg/log" || true)" 0 "$scenario: none of them inside a transaction"
  sql 'alter role app_worker reset all'
  terminate >/dev/null
  healed
  recovers
}

# Somebody changes the schema under the workers: columns and indexes come and go, functions are made anew.
ddl() {
  local n
  begin
  pg_get() { sql "select pg_get_functiondef('booking.$1'::regproc)"; }
  pg_get apply_create >"$T/apply_create.sql"
  for n in {1..6}; do
    psql -XAtq -v ON_ERROR_STOP=1 -c 'set lock_timeout = 1000' -c "alter table booking.booking add column extra$n int default $n" \
      -c "create index on booking.booking (extra$n)" -c "alter table booking.command add column extra$n text" >"$T/ddl.out" 2>&1 || true
    psql -XAtq -f "$T/apply_create.sql" >>"$T/ddl.out" 2>&1
    psql -XAtq -c 'set lock_timeout = 1000' -c "alter table booking.booking drop column extra$n" \
      -c "alter table booking.command drop column extra$n" -c 'analyze booking.booking' >>"$T/ddl.out" 2>&1 || true
  done
  n=$(sql "select count(*) from pg_attribute where attrelid = 'booking.booking'::regclass and attisdropped")
  fired "$n columns came and went" test "$n" -ge 3
  healed
  back_at_work
  is "$(depth dead)" 0 "$scenario: nobody died of it"
  judged
}

# The workers are there before the schema.
no_schema() {
  clean_up
  sql 'alter schema booking rename to booking_away'
  two_workers "${usual[@]}"
  # shellcheck disable=SC2119
  stream_up
  fired 'the database has no such function' wait_until 30 log_says '3F000|42883|42P01'
  sql 'alter schema booking_away rename to booking'
  healed
  recovers
}

# An older release's apply, which does not know all kinds: no job dies of it, and migrating is all that it takes.
older_schema() {
  begin
  sql 'alter function booking.apply_reschedule(booking.job[]) rename to apply_reschedule_away'
  fired 'the workers say what is missing' wait_until 20 log_says '42883'
  ok "$scenario: what cannot be applied is handed back" wait_until 20 metric_at_least booking_jobs_requeued_total 20
  sql 'alter function booking.apply_reschedule_away(booking.job[]) rename to apply_reschedule'
  healed
  recovers
}

# A newer release has migrated while these workers run: what they use is still there.
newer_schema() {
  begin
  sql "insert into booking.schema_migration select (jsonb_populate_record(m, jsonb_build_object('version', 999, 'name', 'of tomorrow'))).* from booking.schema_migration m limit 1;
       alter table booking.booking add column tomorrow text"
  fired 'bookingctl will not touch it' refuses_to_migrate
  healed
  recovers
  sql "delete from booking.schema_migration where version = 999; alter table booking.booking drop column tomorrow"
}
refuses_to_migrate() { ! ctl migrate; }

scenario P1 cut_sweep 'cut sweep over every message of a batch'
scenario P2 late_answer 'answers that come after the deadline'
scenario P2b late_request 'a batch that arrives after it was given up'
scenario P3 stop_immediate 'stop -m immediate and restart'
scenario P3b gone_for_long 'gone until the waits are long'
scenario P4 stop_fast 'stop -m fast and restart'
scenario P5 backend_killed 'a backend is SIGKILLed'
scenario P6 terminated 'backends are terminated, ten a second'
scenario P6b canceled 'statements are cancelled, twenty a second'
scenario P7 frozen 'postmaster and backends SIGSTOPped'
scenario P8 exhausted 'no connection left'
scenario P9b read_only 'read-only under the workers'
scenario P11 disk_full 'disk full'
scenario P11b one_job 'disk full and few jobs'
scenario P11c log_full 'disk full for the log: PANIC'
scenario P12 idle_timeouts 'idle sessions are ended by the server'
scenario P13 deadlocks 'deadlocks on hot rows'
scenario P14 ddl 'DDL while running'
scenario P15 password 'password changed'
scenario P15b rejected 'rejected by pg_hba'
scenario P15c no_right 'booking.apply may not be called'
scenario P16 no_schema 'no schema'
scenario P16b older_schema 'a schema that is older'
scenario P16c newer_schema 'a schema that is newer'
run_scenarios "$@"
