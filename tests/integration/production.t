#!/usr/bin/env bash
# The set-up that deploy/ gives to operators, on real servers: both configurations, users with passwords and no more rights
# than they need, the systemd unit, and what the worker tells systemd.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
[ -x "$bin/booking-worker" ] || bail "no $bin/booking-worker: build first"

# --- the same servers again, as in production: our configurations, passwords, and nobody gets in without one

declare -A password=()
for name in ROOT PRODUCER WORKER ADMIN MONITOR APP_MIGRATOR APP_WORKER APP_WEB APP_READER; do
  password[$name]=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
done
redis_port=$(cat "$T/redis.port")
redis_url() { echo "redis://$1:${password[${1^^}]}@127.0.0.1:$redis_port"; }
database_url() { echo "postgresql://$1:${password[${1^^}]}@127.0.0.1:$PGPORT/booking"; }

data=$T/pg/data
"$root/deploy/servers" pg-stop-immediate "$T"
cp "$root/deploy/postgresql.conf" "$data/booking.conf"
chmod a+r "$data/booking.conf"
echo "include 'booking.conf'" >>"$data/postgresql.conf"
{ echo 'host all app_migrator,app_worker,app_web,app_reader 127.0.0.1/32 scram-sha-256' && cat "$data/pg_hba.conf"; } >"$T/pg_hba"
cat "$T/pg_hba" >"$data/pg_hba.conf"
ok 'PostgreSQL starts with deploy/postgresql.conf' "$root/deploy/servers" pg-start "$T"

"$root/deploy/servers" redis-kill "$T"
cp "$root/deploy/redis-users.acl" "$T/redis/users.acl"
for name in "${!password[@]}"; do sed -i "s/>${name}_PASSWORD/>${password[$name]}/" "$T/redis/users.acl"; done
mkdir "$T/redis/data"
redis_up() {
  setsid redis-server "$root/deploy/redis.conf" --port "$redis_port" --dir "$T/redis/data" --aclfile "$T/redis/users.acl" \
    </dev/null >>"$T/redis/log" 2>&1 &
  echo $! >"$T/redis.pid"
  wait_until 20 redis_is_up
}
redis() { redis-cli --no-auth-warning -u "$REDIS_URL" "$@"; }
as() { # as USER COMMAND...
  local user=$1
  shift
  redis-cli --no-auth-warning -u "$(redis_url "$user")" "$@"
}
redis_is_up() { [ "$(as root ping)" = PONG ]; }
ok 'Redis starts with deploy/redis.conf and deploy/redis-users.acl' redis_up

is "$(sql "select string_agg(name, ' ') from pg_file_settings where sourcefile like '%booking.conf' and not applied")" '' \
  'PostgreSQL has taken every line'
is "$(sql "select string_agg(current_setting(s), ' ') from unnest(array['fsync', 'full_page_writes', 'synchronous_commit']) s")" \
  'on on on' 'and loses nothing'
is "$(as root config get appendonly appendfsync | sort | paste -sd' ')" 'always appendfsync appendonly yes' 'neither does Redis'
is "$(as root config get maxmemory-policy | paste -sd' ')" 'maxmemory-policy noeviction' 'and it throws nothing out'
like "$(redis-cli -p "$redis_port" ping 2>&1)" NOAUTH 'nobody gets into Redis without a password'
like "$(psql -XAtq "postgresql://app_worker:wrong@127.0.0.1:$PGPORT/booking" -c 'select 1' 2>&1 || true)" 'password authentication failed' \
  'nor into PostgreSQL with a wrong one'

# --- first start, as deploy/README.md has it

roles() {
  APP_MIGRATOR_PASSWORD=${password[APP_MIGRATOR]} APP_WORKER_PASSWORD=${password[APP_WORKER]} \
    APP_WEB_PASSWORD=${password[APP_WEB]} APP_READER_PASSWORD=${password[APP_READER]} \
    psql -X -v ON_ERROR_STOP=1 -f "$root/deploy/roles.sql" 2>&1
}
like "$(roles)" 'once more after bookingctl migrate' 'deploy/roles.sql runs on an empty database, and says what is left to do'
DATABASE_URL=$(database_url app_migrator) REDIS_URL=$(redis_url admin)
export DATABASE_URL REDIS_URL
ok 'app_migrator and Redis'\''s admin migrate' ctl migrate
is "$(roles)" '' 'deploy/roles.sql runs again, and has nothing left to say'
web() { psql -XAtq -v ON_ERROR_STOP=1 "$(database_url app_web)" -c "$1"; }
ok 'the web tier adds resources' web "insert into booking.resource (id, name) select g, 'Table ' || g from generate_series(1, 9) g"

# --- real work with those rights

production() { # production NAME [SETTING=VALUE...]: a worker that logs in as it should
  worker_up "$1" "DATABASE_URL=$(database_url app_worker)" "REDIS_URL=$(redis_url worker)" BOOKING_LEASE_MS=1500 "${@:2}"
}
booking() { printf '00000000-0000-4000-8000-%012d' "$1"; }
xadd() { # xadd ID KIND N ARGS [FIELD VALUE...]: as the web tier does
  as producer xadd "$(key inbox)" '*' id "$1" kind "booking.$2" key "$(booking "$3")" args "{\"booking_id\":\"$(booking "$3")\"$4}" "${@:5}"
}
slot() { printf ',"resource_id":%d,"customer_id":7,"starts_at":"2031-01-%02dT10:00:00Z","ends_at":"2031-01-%02dT11:00:00Z"' "$1" "$2" "$2"; }

as root acl log reset >/dev/null
production one
xadd a-1 create 1 "$(slot 1 1)" reply 1 >/dev/null
like "$(as producer blpop "$(key reply:a-1)" 20)" '"outcome":"applied"' 'a producer enqueues, a worker applies, the producer has its answer'
{
  xadd a-2 confirm 1 '' && xadd a-3 create 2 "$(slot 1 1)" && xadd a-4 create 3 "$(slot 2 1)" not_before $(($(now_ms) + 1500))
  xadd a-5 confirm 3 '' && xadd a-6 teleport 4 '' && xadd a-7 confirm 5 ',"colour":"red"'
} >/dev/null
ok 'the rest is done, too' wait_until 20 drained
is "$(sql "select string_agg(id || ' ' || coalesce(code, outcome), ', ' order by id) from booking.command")" \
  'a-1 applied, a-2 applied, a-3 slot_taken, a-4 applied, a-5 unknown_booking' 'as it should be'
is "$(depth dead)" 2 'and two are dead'

# killed while it holds jobs, and another one takes them; a failure that is tried again
hold 'lock table booking.booking in share row exclusive mode'
xadd b-1 cancel 1 '' >/dev/null
xadd b-2 cancel 3 '' >/dev/null
wait_until 20 depth_is active 2 || bail 'the worker does not take them'
kill_worker one
production two BOOKING_LOCK_TIMEOUT_MS=200 BOOKING_STATEMENT_TIMEOUT_MS=400
ok 'what a killed worker held fails at a lock, and is put off' wait_until 20 depth_is retry 2
let_go
ok 'and done when the lock is gone' wait_until 20 drained
is "$(sql "select count(*) from booking.booking where status = 'cancelled'")" 2 'once each'

# Redis is killed, and what it had acknowledged is there again: what functions did, too
stop_worker two
xadd d-1 create 7 "$(slot 4 1)" not_before $(($(now_ms) + 3600000)) >/dev/null
production late
ok 'a job is put off to its time' wait_until 20 depth_is scheduled 1
stop_worker late
xadd d-2 create 8 "$(slot 4 2)" >/dev/null
contents() { ctl status --json | jq -c 'del(.oldest_ms, .oldest_dead_ms)' && ctl dead list --json && as root function list withcode | sort | sha1sum; }
before=$(contents)
"$root/deploy/servers" redis-kill "$T"
ok 'Redis is killed and starts again' redis_up
is "$(contents)" "$before" 'with every job in its place'
is "$(grep -c CRITICAL "$T/redis/log" || true)" 0 'and has nothing to complain about'
production two
ok 'work goes on' wait_until 20 ledger_has d-2

# everything that bookingctl does, as admin
for verb in 'status --json' 'workers --json' 'job a-1 --json' 'job a-6 --json' 'dead list --json' 'dead export' 'audit --json' \
  'breaker open' 'breaker auto' pause resume 'dead retry --all --reason unknown_kind --yes' 'dead drop --all --yes'; do
  # shellcheck disable=SC2086 # several words
  ok "admin: bookingctl $verb" ctl $verb
done
printf '{"id":"c-1","kind":"booking.create","args":{"booking_id":"%s"%s}}\n' "$(booking 6)" "$(slot 3 1)" >"$T/commands"
ok 'admin: bookingctl enqueue' ctl enqueue "$T/commands"
ok 'which is done' wait_until 20 ledger_has c-1
is "$(as root acl log | paste -sd' ')" '' 'neither worker nor admin nor producer has lacked a right'

# --- and nothing else

refused() { # refused USER COMMAND...
  like "$(as "$@" 2>&1)" '^NOPERM' "$1 may not: ${*:2:3}"
}
refused producer flushall
refused producer del "$(key inbox)"
refused producer xread count 1 streams "$(key inbox)" 0
refused producer xrange "$(key inbox)" - +
refused producer xtrim "$(key inbox)" maxlen 0
refused producer fcall booking_status 1 "$(key inbox)"
refused producer xadd "$(key audit)" '*' who me
refused producer xadd "$(key reply:x)" '*' a b
refused producer xadd other '*' a b
refused producer blpop "$(key ready)" 1
refused producer hgetall "$(key job:1-1)"
refused producer config get requirepass
refused producer keys '*'
for user in worker admin; do
  refused $user flushall
  refused $user config set appendonly no
  refused $user keys '*'
  refused $user function flush
  refused $user acl list
  refused $user set other 1
  refused $user hgetall '{other}:gate'
done
refused worker scan 0
refused worker config get requirepass

status_now() { as monitor fcall_ro booking_status 1 "$(key inbox)" | paste -sd' '; }
like "$(status_now)" 'inbox 0 ready 0 waiting 0' 'monitor may: fcall_ro booking_status'
is "$(as monitor xlen "$(key inbox)")" 0 'monitor may: xlen'
like "$(as monitor info replication)" 'role:master' 'monitor may: info'
refused monitor fcall booking_status 1 "$(key inbox)"
refused monitor fcall_ro booking_status 1 '{other}:inbox'
refused monitor xadd "$(key inbox)" '*' a b
refused monitor del "$(key dead)"
refused monitor hset "$(key config)" paused 1
refused monitor config set maxmemory 1
refused monitor slowlog reset

# denied LOGIN STATEMENT...
denied() {
  local login=$1 statement
  shift
  for statement; do
    like "$(psql -XAtq "$(database_url "$login")" -c "$statement" 2>&1 || true)" 'permission denied|must be owner|read-only' "$login may not: $statement"
  done
}
allowed() {
  local login=$1 statement
  shift
  for statement; do ok "$login may: $statement" psql -XAtq -v ON_ERROR_STOP=1 "$(database_url "$login")" -c "$statement"; done
}
denied app_worker 'delete from booking.booking' 'delete from booking.command' 'truncate booking.command' \
  'update booking.booking set version = 9' 'update booking.resource set active = false' \
  "insert into booking.resource (id, name) values (10, 'x')" 'alter table booking.booking drop constraint booking_no_overlap' \
  'drop schema booking cascade' 'create table booking.x ()' 'create table public.x ()' 'create schema x' 'set role booking_owner' \
  'create temp table x ()'
allowed app_web "insert into booking.resource (id, name) values (11, 'x')" 'update booking.resource set active = false where id = 11' \
  'delete from booking.resource where id = 11' 'select count(*) from booking.booking'
denied app_web 'update booking.booking set version = 9' "select booking.apply('[]')" 'truncate booking.resource'
allowed app_reader 'select count(*) from booking.command'
denied app_reader 'update booking.resource set active = false' "select booking.apply('[]')" 'create table public.x ()'

# A worker that lacks a right takes nothing, rather than fail in the middle of a move, and says which.
as root acl setuser worker -zadd >/dev/null
stop_worker two
start_worker three "DATABASE_URL=$(database_url app_worker)" "REDIS_URL=$(redis_url worker)"
ok 'a worker that lacks a right says which' wait_until 10 grep -q 'may not ZADD' "$T/three.log"
as root acl load >/dev/null
ok 'and goes on when it has it' wait_until 20 worker_listed three
stop_worker three

# --- systemd

skip() {
  tap_run=$((tap_run + 1))
  echo "ok $tap_run # SKIP $1"
}

if command -v systemd-analyze >/dev/null; then
  mkdir "$T/units"
  cp "$root"/deploy/systemd/* "$T/units"
  sed -i "s#^ExecStart=.*#ExecStart=$bin/booking-worker#" "$T/units/booking-worker@.service"
  is "$(cd "$T/units" && systemd-analyze verify --man=no ./booking-worker@1.service ./booking-worker.target 2>&1)" '' 'systemd-analyze verify has nothing to say'
  ok 'the unit'\''s exposure is at most 1.5' systemd-analyze security --offline=true --threshold=15 --no-pager "$T/units/booking-worker@1.service"
else
  skip 'no systemd-analyze here: verify'
  skip 'no systemd-analyze here: security'
fi
unit_says() { sed -n "s/^Environment=BOOKING_$1=//p" "$root/deploy/systemd/booking-worker@.service" | sed 's/%H/host.example/; s/%i/1/'; }
ok 'the unit and deploy/env.example make a configuration' env -i "BOOKING_WORKER_NAME=$(unit_says WORKER_NAME)" \
  "BOOKING_HTTP=$(unit_says HTTP)" "$bin/booking-worker" --env-file "$root/deploy/env.example" --check-config

# What systemd listens to: datagrams, one a line here.
listen() {
  exec perl -MIO::Socket::UNIX -MSocket -e '$| = 1; my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => shift) or die $!;
    while (defined $s->recv(my $m, 4096)) { $m =~ s/\n/ /g; print "$m\n" }' "$1"
}
heard() { grep -qE "$1" "$T/notify.log"; }
heard_watchdog() { [ "$(grep -c '^WATCHDOG=1' "$T/notify.log")" -ge "$1" ]; }
if grep -q libsystemd <(ldd "$bin/booking-worker"); then
  listen "$T/run/notify" >"$T/notify.log" &
  worker_pid[listener]=$!
  wait_until 10 test -S "$T/run/notify" || bail 'no socket to listen to'
  production four "NOTIFY_SOCKET=$T/run/notify" WATCHDOG_USEC=400000
  ok 'READY=1 when it runs' wait_until 10 heard '^READY=1'
  ok 'WATCHDOG=1, again and again' wait_until 10 heard_watchdog 4
  is "$(grep -c '^STOPPING=1' "$T/notify.log" || true)" 0 'it does not stop'
  stop_worker four
  is "$status" 0 'until it is told to'
  ok 'STOPPING=1 then' wait_until 10 heard '^STOPPING=1'
  like "$(head -n 1 "$T/notify.log")" '^READY=1' 'READY=1 came first'
else
  skip 'built without libsystemd: sd_notify'
fi
done_testing
