#!/usr/bin/env bash
# A PostgreSQL of two: the standby stands first in the URL, hangs while commits wait for it, takes over.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

servers_up
migrate
servers pg-standby
servers_env

# Two hosts, the standby first, and the URL does not say which kind is wanted.
standby_first() {
  begin \
    DATABASE_URL="postgresql://app_worker@127.0.0.1:$STANDBY_PORT,127.0.0.1:$PGPORT/booking"
  healed
  recovers
}

# Commits wait for a synchronous standby that does not answer. They have happened and nobody knows.
standby_hangs() {
  local standby
  begin BOOKING_STATEMENT_TIMEOUT_MS=1000 BOOKING_LOCK_TIMEOUT_MS=500
  sql "alter system set synchronous_standby_names = '*'"
  reload
  wait_until 20 in_sync || bail 'the standby does not follow'
  standby=$(head -n 1 "$T/standby/data/postmaster.pid")
  for pid in "$standby" $(pgrep -P "$standby"); do kill -STOP "$pid"; done
  breakers_open
  fired 'commits wait' test "$(sql "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")" -gt 0
  for pid in "$standby" $(pgrep -P "$standby"); do kill -CONT "$pid"; done
  healed
  recovers
  sql 'alter system reset synchronous_standby_names'
  reload
}
in_sync() { [ "$(sql "select sync_state from pg_stat_replication")" = sync ]; }

# The standby takes over from a primary that is gone for good; nothing that was acknowledged is missing there.
promotion() {
  begin \
    DATABASE_URL="postgresql://app_worker@127.0.0.1:$PGPORT,127.0.0.1:$STANDBY_PORT/booking?target_session_attrs=read-write"
  sql "alter system set synchronous_standby_names = '*'"
  reload
  wait_until 20 in_sync || bail 'the standby does not follow'
  wait_until 20 ledger_at_least $(($(sql 'select count(*) from booking.command') + 200)) || bail 'nothing is replicated'
  servers pg-stop-immediate
  breakers_open
  servers pg-promote
  DATABASE_URL=${DATABASE_URL/:$PGPORT/:$STANDBY_PORT} PGPORT=$STANDBY_PORT
  fired 'the standby is the primary' wait_until 20 test "$(sql 'select pg_is_in_recovery()')" = f
  healed
  recovers
}

run standby_first
run standby_hangs
run promotion
done_testing
