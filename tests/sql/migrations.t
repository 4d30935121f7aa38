#!/usr/bin/env bash
# TAP test of the bootstrap and the migrations, on the server that PGHOST and PGUSER (a superuser) name: what bookingctl
# runs is run here by psql, in databases and by logins of this test's own, which are dropped at the end.
set -euo pipefail

sql=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../sql" && pwd)
run=bkt$$
count=0
scratch=$(mktemp -d)
trap 'clean_up >/dev/null 2>&1 || true' EXIT

clean_up() {
  local name
  rm -rf "$scratch"
  for name in one two three four plain; do psql_in postgres "drop database if exists ${run}_$name"; done
  psql_in postgres "drop role if exists ${run}_member" "drop role if exists ${run}_creator" "drop role if exists ${run}_stranger"
}

# psql_in DATABASE COMMAND...: rows unaligned on stdout
psql_in() {
  local database=$1 command args=()
  shift
  for command; do args+=(-c "$command"); done
  PGOPTIONS='-c client_min_messages=warning' psql -qAtX -v ON_ERROR_STOP=1 -d "$database" "${args[@]}"
}

# migrate DATABASE [psql option...]: the bootstrap and all migrations in one transaction
migrate() {
  local database=$1 file args=(-f "$sql/bootstrap.sql")
  shift
  for file in "$sql"/migrations/*.sql; do args+=(-f "$file"); done
  PGOPTIONS='-c client_min_messages=warning' psql -qAtX1 -v ON_ERROR_STOP=1 -d "$database" "$@" "${args[@]}" 2>&1
}

ok() { # ok STATUS DESCRIPTION [OUTPUT]
  local output=${3:-}
  count=$((count + 1))
  if [ "$1" = 0 ]; then
    echo "ok $count - $2"
  else
    echo "not ok $count - $2"
    printf '# %s\n' "${output//$'\n'/$'\n'# }"
  fi
}

is() { # is GOT WANTED DESCRIPTION
  local status=0
  [ "$1" = "$2" ] || status=1
  ok "$status" "$3" "got: $1"$'\n'"wanted: $2"
}

try() { # try DESCRIPTION COMMAND...
  local description=$1 output status=0
  shift
  output=$("$@" 2>&1) || status=1
  ok "$status" "$description" "$output"
}

names_are_dense() {
  local wanted=1 file
  for file in "$sql"/migrations/*.sql; do
    [[ ${file##*/} =~ ^([0-9]{3})_[a-z0-9_]+\.sql$ ]] && [ $((10#${BASH_REMATCH[1]})) = $wanted ] || return 1
    wanted=$((wanted + 1))
  done
}
try 'migrations are numbered without a gap' names_are_dense

# Only plain statements: they go through libpq's simple query, inside a transaction that bookingctl has begun.
is "$(grep -rnEi '^\s*(\\|(begin|commit|rollback)\s*;|start transaction)' "$sql" --include='*.sql' || true)" '' \
   'no psql commands, no transaction commands'

# A login that may not create roles, on a cluster that has none of ours: only the first run on a fresh cluster can see this.
psql_in postgres "create role ${run}_stranger login" "create role ${run}_member login" "create role ${run}_creator login createrole" \
        "create database ${run}_plain"
psql_in postgres "grant create on database ${run}_plain to ${run}_stranger, ${run}_member, ${run}_creator"
if [ "$(psql_in postgres "select count(*) from pg_roles where rolname like 'booking\_%'")" = 0 ]; then
  output=$(migrate "${run}_plain" -U "${run}_stranger") && status=1 || status=0
  ok "$status" 'no roles and no right to create them: refused'
  [[ $output == *'may not create roles'* && $output == *'create role booking_owner nologin'* ]] && status=0 || status=1
  ok "$status" 'the error says what to do' "$output"
fi

# Four databases of one cluster at once: roles are the cluster's, so they meet there.
for name in one two three four; do psql_in postgres "create database ${run}_$name"; done
pids=()
for name in one two three four; do
  migrate "${run}_$name" >"$scratch/$name" &
  pids+=("$name=$!")
done
for pid in "${pids[@]}"; do
  wait "${pid#*=}" && status=0 || status=1
  ok "$status" 'migrated while other databases of the cluster are' "$(cat "$scratch/${pid%=*}")"
done

# The bootstrap runs before each migration, with nothing to do.
output=$(PGOPTIONS='-c client_min_messages=notice' psql -qAtX1 -v ON_ERROR_STOP=1 -d "${run}_one" -f "$sql/bootstrap.sql" -f "$sql/bootstrap.sql" 2>&1) \
  && status=0 || status=1
ok "$status" 'the bootstrap may be run again' "$output"
is "$output" '' 'and has nothing to say then'
is "$(psql_in "${run}_one" 'select count(*) from booking.command')" 0 'nothing is lost by it'
psql_in "${run}_one" "revoke create on database ${run}_one from public" "grant booking_owner to ${run}_member"
try 'also by a member of booking_owner without CREATE on the database' \
    psql -qAtX1 -v ON_ERROR_STOP=1 -d "${run}_one" -U "${run}_member" -f "$sql/bootstrap.sql"
psql_in "${run}_one" "revoke booking_owner from ${run}_member"

# Logins that are not a superuser
output=$(migrate "${run}_plain" -U "${run}_stranger") && status=1 || status=0
ok "$status" 'a login that is no member of booking_owner is refused'
[[ $output == *'may not act as booking_owner'* && $output == *'grant booking_owner to'* ]] && status=0 || status=1
ok "$status" 'the error says what to do' "$output"
is "$(psql_in "${run}_plain" "select count(*) from pg_namespace where nspname = 'booking'")" 0 'it left nothing behind'
psql_in postgres "grant booking_owner to ${run}_member"
output=$(migrate "${run}_plain" -U "${run}_member") && status=0 || status=1
ok "$status" 'a member of booking_owner with CREATE on the database migrates' "$output"
is "$(psql_in "${run}_plain" "select string_agg(distinct pg_get_userbyid(relowner), ',') from pg_class where relnamespace = 'booking'::regnamespace")" \
   'booking_owner' 'booking_owner owns what it made'
is "$(psql_in "${run}_plain" "grant booking_worker to ${run}_stranger" "set role ${run}_stranger" "select count(*) from booking.apply('[]')")" 0 \
   'a member of booking_worker applies there'
psql_in "${run}_plain" "revoke booking_worker from ${run}_stranger"

# btree_gist in a schema of somebody else's choice
psql_in postgres "drop database ${run}_two" "create database ${run}_two"
psql_in "${run}_two" 'create schema elsewhere' 'create extension btree_gist schema elsewhere' 'drop schema public'
output=$(migrate "${run}_two") && status=0 || status=1
ok "$status" 'btree_gist may stand in any schema, and public need not exist' "$output"
psql_in postgres "drop database ${run}_three" "create database ${run}_three"
psql_in "${run}_three" 'drop schema public'
output=$(migrate "${run}_three") && status=0 || status=1
ok "$status" 'without public, btree_gist goes into our own schema' "$output"

# A schema that is somebody else's
psql_in postgres "drop database ${run}_four" "create database ${run}_four"
psql_in "${run}_four" 'create schema booking'
output=$(migrate "${run}_four") && status=1 || status=0
ok "$status" 'a schema booking that is not ours is refused'
[[ $output == *'alter schema booking owner to booking_owner'* ]] && status=0 || status=1
ok "$status" 'the error says what to do' "$output"

echo "1..$count"
