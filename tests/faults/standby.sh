#!/usr/bin/env bash
# A PostgreSQL of two: the standby stands first in the URL, and takes over from a primary that
# goes on as one that may only be read.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

family_up() {
  servers pg-standby
  servers_env
}

# Two hosts, the standby first, and the URL does not say which kind is wanted.
standby_first() {
  begin \
    DATABASE_URL="postgresql://app_worker@127.0.0.1:$STANDBY_PORT,127.0.0.1:$PGPORT/booking"
  fired 'and refuses to write' refuses_to_write
  healed
  recovers
}

refuses_to_write() { ! psql -XAtqh 127.0.0.1 -p "$STANDBY_PORT" -c 'create table never ()'; }

# The primary is made read-only, as before a planned change, and lives on: who is connected to it must not stay there.
replaced() {
  local old=$PGPORT
  begin DATABASE_URL="postgresql://app_worker@127.0.0.1:$PGPORT,127.0.0.1:$STANDBY_PORT/booking"
  sql 'alter system set default_transaction_read_only = on'
  reload
  breakers_open
  wait_until 20 caught_up_standby || bail 'the standby does not follow'
  servers pg-promote
  DATABASE_URL=${DATABASE_URL/:$PGPORT/:$STANDBY_PORT} PGPORT=$STANDBY_PORT
  sql 'alter system reset default_transaction_read_only' # which came with the copy
  reload
  fired 'the standby is the primary' wait_until 20 test "$(sql 'select pg_is_in_recovery()')" = f
  healed
  recovers
  is "$(PGPORT=$old sql "select count(*) from booking.command where applied_at > to_timestamp($healed_at / 1e3)")" 0 \
    "$scenario: nothing more was written to the old one"
}
caught_up_standby() { [ "$(PGOPTIONS='-c default_transaction_read_only=off' sql 'select pg_current_wal_lsn() - replay_lsn from pg_stat_replication')" = 0 ]; }

scenario P9c standby_first 'a standby is the first host'
scenario P9 replaced 'promotion of the standby, the old primary read-only'
run_scenarios "$@"
