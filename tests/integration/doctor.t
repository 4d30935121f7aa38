#!/usr/bin/env bash
# bookingctl doctor: everything it looks at is made bad once, on real servers, and is told as what it is.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
migrate

# finds CHECK LEVEL REGEX NAME: what it says of one thing
finds() {
  ctl doctor --json >"$T/found" || true
  is "$(jq -r --arg check "$1" '.[] | select(.check == $check).level' "$T/found")" "$2" "$4: $2"
  like "$(jq -r --arg check "$1" '.[] | select(.check == $check).text' "$T/found")" "$3" "$4"
}
redis_config() { redis config set "$@" >/dev/null; }
pg_setting() { # pg_setting NAME VALUE
  sql "alter system set $1 = $2"
  sql 'select pg_reload_conf()' >/dev/null
  setting_is() { [ "$(sql "show $1")" = "$2" ]; }
  wait_until 10 setting_is "$1" "$2" || bail "$1 does not become $2"
}

# --- as it should be, but for what a private server for tests does not need

is "$(exit_code ctl doctor)" 0 'a good set-up: 0'
like "$(tail -n 1 "$T/out")" '^[0-9]+ ok, [0-9]+ warn, 0 FAIL$' 'it counts'
is "$(grep -c '^FAIL' "$T/out" || true)" 0 'nothing fails'
ok 'as JSON it is an array' jq -e 'type == "array" and all(.level == "ok" or .level == "warn")' <(ctl doctor --json)
finds role warn superuser 'a superuser'
finds maxmemory warn 'not set' 'no limit of memory'
finds workers warn '0 with a lease' 'no workers'
finds 'dead letters' ok none 'no dead letters'
finds 'oldest job' ok 'none waits' 'no job waits'

# --- PostgreSQL

for setting in fsync full_page_writes synchronous_commit; do
  pg_setting $setting off
  finds $setting FAIL '^off: a crash' "$setting off"
  is "$(exit_code ctl doctor)" 69 "$setting off: 69"
  pg_setting $setting on
done
sql 'delete from booking.schema_migration where version = (select max(version) from booking.schema_migration)'
finds schema FAIL 'run bookingctl migrate' 'a schema that is older'
sql "insert into booking.schema_migration
     select (jsonb_populate_record(m, '{\"version\": 9999}')).* from booking.schema_migration m order by version desc limit 1"
finds schema FAIL 'version 9999, .*use a newer bookingctl' 'a schema that is newer'
sql 'delete from booking.schema_migration where version = 9999'
as_superuser=$DATABASE_URL
DATABASE_URL=$(worker_database_url)
finds role ok 'no more rights' 'a worker'\''s role'
sql 'create role visitor login in role booking_reader; grant delete on booking.booking to visitor'
DATABASE_URL=${as_superuser/postgres@/visitor@}
finds 'right to apply' FAIL 'grant booking_worker' 'a role that may not apply'
finds role warn 'may do more than a worker needs;' 'and may do something else'
sql 'create role stranger login'
DATABASE_URL=${as_superuser/postgres@/stranger@}
finds postgresql FAIL 'permission denied' 'a role that may see nothing'
sql 'grant usage on schema booking to stranger'
finds schema FAIL 'permission denied' 'or next to nothing'
DATABASE_URL=${as_superuser/%booking/postgres}
finds schema FAIL 'there is none: run bookingctl migrate' 'a database without the schema'
DATABASE_URL=$as_superuser
sql 'alter table booking.booking drop constraint booking_no_overlap'
finds 'no overlap' FAIL 'is gone' 'no exclusion constraint'
redis hset "$(key worker:greedy)" pool '{"max":500}' >/dev/null
redis zadd "$(key workers)" $(($(now_ms) + 3600000)) greedy@1 >/dev/null
finds connections FAIL '1 workers with pools of 500 in all.*lower BOOKING_POOL_MAX' 'pools larger than the server'
finds workers ok '1 with a lease' 'a worker'
redis hdel "$(key worker:greedy)" pool >/dev/null
finds connections ok 'pools of 0 in all' 'a worker that says nothing of its pool'
redis del "$(key workers)" "$(key worker:greedy)" >/dev/null

# --- Redis

redis_config appendfsync everysec
finds appendonly warn 'everysec: a crash can lose the last moments' 'appendfsync everysec'
redis_config appendfsync no
finds appendonly FAIL 'appendfsync no' 'appendfsync no'
redis_config appendfsync always appendonly no
finds appendonly FAIL 'loses acknowledged commands' 'appendonly no'
redis_config appendonly yes
redis_config maxmemory-policy allkeys-lru
finds eviction FAIL 'allkeys-lru throws jobs away' 'a policy that throws jobs away'
redis_config maxmemory-policy noeviction maxmemory 1gb
finds maxmemory ok 'of 1024 MB used' 'memory enough'
used=$(redis info memory | tr -d '\r' | sed -n 's/^used_memory://p')
redis_config maxmemory $((used * 11 / 10))
finds maxmemory warn 'MB used' 'memory that is nearly full'
redis_config maxmemory 0

redis acl setuser root on '>root' '~*' '&*' +@all >/dev/null
as_default=$REDIS_URL as_root=${REDIS_URL/redis:\/\//redis://root:root@}
REDIS_URL=$as_root
finds 'user default' ok 'has all rights' 'the user default'
for rights in '-flushall' 'resetkeys ~{booking}*'; do
  # shellcheck disable=SC2086 # words
  redis acl setuser default $rights >/dev/null
  finds 'user default' FAIL 'has lost rights' "the user default with $rights"
  redis acl setuser default '~*' +@all >/dev/null
done
for denied in 'acl|user default|may not be read' 'info|redis|INFO may not be read' 'config|appendonly|may not be read by this user'; do
  IFS='|' read -r command check told <<<"$denied"
  redis acl setuser limited on '>limited' '~*' '&*' +@all "-$command" >/dev/null
  REDIS_URL=${as_default/redis:\/\//redis://limited:limited@}
  finds "$check" warn "$told" "a user who may not $command"
  REDIS_URL=$as_root
done
redis acl setuser limited on '>limited' '~*' '&*' +@all -fcall >/dev/null
REDIS_URL=${as_default/redis:\/\//redis://limited:limited@}
finds redis FAIL 'NOPERM|may not' 'a user who may not call functions'
REDIS_URL=$as_root
redis acl setuser limited on '>limited' resetkeys '~{booking}:inbox' '&*' +@all >/dev/null
REDIS_URL=${as_default/redis:\/\//redis://limited:limited@}
finds redis FAIL 'NOPERM the worker may not' 'a user who may not touch the queue'
REDIS_URL=$as_default
redis replicaof 127.0.0.1 1 >/dev/null
finds 'redis role' FAIL slave 'a replica'
redis replicaof no one >/dev/null

# --- the queue

ctl pause >/dev/null
finds paused warn 'bookingctl resume' 'paused'
ctl resume >/dev/null
finds paused ok no 'resumed'
for mode in open closed; do
  ctl breaker $mode >/dev/null
  finds breaker warn "^$mode\$" "breaker $mode"
done
ctl breaker auto >/dev/null
finds breaker ok auto 'breaker auto'
redis hset "$(key job:1-0)" state dead id x kind k key k reason expired died_at 1 >/dev/null
now=$(now_ms)
for age in '90000|^1, the oldest 90\.[0-9] s' '3600000|60 min' '86400000|24\.0 h' '864000000|10\.0 d'; do
  redis zadd "$(key dead)" $((now - ${age%|*})) 1-0 >/dev/null
  finds 'dead letters' warn "${age#*|}" "a dead letter ${age%|*} ms old"
done
redis xadd "$(key inbox)" $((now - 7200000))-0 id x kind k key k args '{}' >/dev/null
finds 'oldest job' warn '120 min|2\.0 h' 'a job that waits for two hours'

# --- clocks, as far as one can be bent

clock=$bin/../tests/fault-clock.so
if [ -e "$clock" ]; then
  for by in 5 -5; do
    echo $by >"$T/clock"
    LD_PRELOAD=$clock FAULT_CLOCK_FILE=$T/clock finds 'clock of pg' warn '[45][0-9]{3} ms apart' "a clock that is wrong by $by s"
  done
  echo 100 >"$T/clock"
  LD_PRELOAD=$clock FAULT_CLOCK_FILE=$T/clock finds 'clock of redis' FAIL 'let NTP see to it' 'a clock that is wrong by 100 s'
fi

# --- a standby, and servers that are away

"$root/deploy/servers" pg-standby "$T"
servers_env
DATABASE_URL=${DATABASE_URL/:$PGPORT/:$STANDBY_PORT}
finds primary FAIL 'this is a standby' 'a standby'
DATABASE_URL=postgresql://postgres@127.0.0.1:1/booking
finds postgresql FAIL refused 'PostgreSQL away'
REDIS_URL=redis://127.0.0.1:1
finds redis FAIL refused 'Redis away'
is "$(exit_code ctl doctor)" 69 'both: 69'
done_testing
