#!/usr/bin/env bash
# A PostgreSQL of two: the standby hangs while commits wait for it, and takes over.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

family_up() {
  servers pg-standby
  servers_env
}

signal_standby() {
  local standby
  standby=$(head -n 1 "$T/standby/data/postmaster.pid")
  for pid in "$standby" $(pgrep -P "$standby"); do kill "-$1" "$pid"; done
}
stop_standby() { signal_standby STOP; }
wake_standby() { signal_standby CONT; }

# Commits wait for a synchronous standby that does not answer. They have happened and nobody knows.
standby_hangs() {
  begin BOOKING_STATEMENT_TIMEOUT_MS=1000 BOOKING_LOCK_TIMEOUT_MS=500
  sql "alter system set synchronous_standby_names = '*'"
  reload
  wait_until 20 in_sync || bail 'the standby does not follow'
  stop_standby
  breakers_opened
  fired 'commits wait' wait_until 20 commits_wait
  wake_standby
  healed
  recovers
  sql 'alter system reset synchronous_standby_names'
  reload
}
# Or have waited, until the next connection ended their sessions.
commits_wait() {
  grep -q 'wait for synchronous replication' "$T/pg/log" ||
    [ "$(sql "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")" -gt 0 ]
}
in_sync() { [ "$(sql "select sync_state from pg_stat_replication")" = sync ]; }

# The standby hangs, wakes, and takes over from a primary that is gone for good; nothing that was acknowledged is missing there,
# though the primary had committed what nobody heard of.
failover() {
  begin BOOKING_STATEMENT_TIMEOUT_MS=1000 BOOKING_LOCK_TIMEOUT_MS=500 \
    DATABASE_URL="postgresql://app_worker@127.0.0.1:$PGPORT,127.0.0.1:$STANDBY_PORT/booking?target_session_attrs=read-write"
  sql "alter system set synchronous_standby_names = '*'"
  reload
  wait_until 20 in_sync || bail 'the standby does not follow'
  wait_until 20 ledger_at_least $(($(sql 'select count(*) from booking.command') + 200)) || bail 'nothing is replicated'
  stop_standby
  breakers_opened
  wake_standby
  servers pg-stop-immediate
  servers pg-promote
  DATABASE_URL=${DATABASE_URL/:$PGPORT/:$STANDBY_PORT} PGPORT=$STANDBY_PORT
  fired 'the standby is the primary' wait_until 20 test "$(sql 'select pg_is_in_recovery()')" = f
  healed
  recovers
}

scenario P10 standby_hangs 'the synchronous standby hangs'
scenario P10b failover 'the synchronous standby hangs, then failover'
run_scenarios "$@"
