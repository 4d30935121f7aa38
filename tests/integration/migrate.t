#!/usr/bin/env bash
# bookingctl migrate: twenty at once, twice, and a database that a newer release has migrated.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
[ -x "$bin/bookingctl" ] || bail "no $bin/bookingctl: build first"

installers=()
for n in {1..20}; do
  ctl migrate >"$T/migrate.$n" 2>&1 &
  installers+=($!)
done
failed=0
for n in {1..20}; do
  wait "${installers[n - 1]}" || { failed=$((failed + 1)) && diag "$(cat "$T/migrate.$n")"; }
done
is $failed 0 'twenty installers at once, and none fails'

files=$(find "$root/sql/migrations" -name '*.sql' | wc -l)
is "$(sql 'select count(*) from booking.schema_migration')" "$files" 'each migration is applied once'
is "$(sql "select count(*) from pg_constraint where conrelid = 'booking.booking'::regclass and contype = 'x'")" 1 'there is an exclusion constraint'
is "$(sql "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolname ~ '^booking_'")" \
  'booking_owner booking_reader booking_worker' 'the roles are there'
ok 'the queue functions are there' grep -q . <(redis function list)

fingerprint() { sql "select md5(string_agg(m::text, '|' order by m::text)) from booking.schema_migration m"; }
before=$(fingerprint)
is "$(exit_code ctl migrate)" 0 'a second run is fine'
is "$(fingerprint)" "$before" 'and changes nothing'

redis flushall >/dev/null
redis function flush >/dev/null
is "$(exit_code ctl migrate)" 0 'queue functions that are gone come back'
ok 'so they do' grep -q . <(redis function list)

sql "create role app_worker login in role booking_worker"
worker_sql() { psql -XAtq "$(worker_database_url)" -c "$1"; }
for statement in 'delete from booking.booking' 'delete from booking.command' 'create table booking.x ()' 'drop table booking.booking' \
  'update booking.resource set active = false'; do
  output=$(worker_sql "$statement" 2>&1) || true
  like "$output" 'permission denied|must be owner' "a worker may not: $statement"
done

# A row like the newest one, but of a release yet to come.
sql "insert into booking.schema_migration
     select (jsonb_populate_record(m, '{\"version\": 9999}')).* from booking.schema_migration m order by version desc limit 1"
code=$(exit_code ctl migrate)
ok "a newer schema is refused (exit $code)" test "$code" -ne 0
like "$(cat "$T/err")" 'newer|9999' 'and the message says so'
is "$(sql 'select count(*) from booking.schema_migration')" $((files + 1)) 'nothing was changed'

sql 'delete from booking.schema_migration where version = 9999' >/dev/null
export REDIS_URL=redis://127.0.0.1:1
is "$(exit_code ctl migrate)" 69 'no Redis: 69'
DATABASE_URL=postgresql://postgres@127.0.0.1:1/booking
is "$(exit_code ctl migrate)" 69 'no PostgreSQL: 69'
done_testing
