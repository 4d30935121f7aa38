#!/usr/bin/env bash
# Redis behind Sentinels: the master is switched, freezes and wakes as one that has been replaced, and is killed. What had
# reached the replica is done once; workers and bookingctl know the Sentinels only.
# shellcheck disable=SC2119 # begin takes settings or none
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

family_up() {
  servers redis-sentinel
  servers_env
  queue_url=$SENTINEL_URL
  first=${REDIS_URL##*:} second=$REPLICA_PORT
  sentinel=${SENTINEL_URL%%,*} sentinel=${sentinel##*:}
}

master() { redis-cli -p "$sentinel" sentinel get-master-addr-by-name booking | sed -n 2p; }
master_is() { [ "$(master)" = "$1" ]; }
role_is() { redis-cli -p "$1" role | head -n 1 | grep -qx "$2"; }
field() { redis-cli -p "$1" info replication | tr -d '\r' | sed -n "s/^$2://p"; }
followed() { [ "$(field "$1" master_repl_offset)" = "$(field "$2" slave_repl_offset)" ] && [ "$(field "$2" master_link_status)" = up ]; }
# The Sentinels are sure of their master and its replica, and would act if it failed.
settled() {
  role_is "$1" master && role_is "$2" slave && master_is "$1" &&
    [ "$(redis-cli -p "$sentinel" sentinel master booking | grep -A1 -x flags | tail -n 1)" = master ] &&
    redis-cli -p "$sentinel" sentinel replicas booking | grep -A1 -x flags | grep -qx slave &&
    redis-cli -p "$sentinel" sentinel ckquorum booking | grep -q '^OK'
}
seen() { # by every Sentinel
  local n
  for n in 1 2 3; do
    [ "$(redis-cli -p "$(cat "$T/sentinel$n.port")" sentinel get-master-addr-by-name booking | sed -n 2p)" = "$1" ] || return 1
  done
}

# A failover loses what the replica does not have; that is Redis's promise and none of the worker's. So nothing is enqueued
# between the moment when it has all and the fault, and there is a backlog that is being worked off.
backlog() {
  stream_down
  ctl pause >/dev/null
  awk -v n=8000 -v seed=$((seed * 1009 + 50 + scenarios)) -v resources=40 -v prefix="b$scenarios" -f "$root/tests/support/commands.awk" >"$T/backlog"
  ctl enqueue --journal "$T/journal.backlog" "$T/backlog" >"$T/out" || bail "$(cat "$T/out")"
  wait_until 30 followed "$1" "$2" || bail 'the replica does not follow'
  ctl resume >/dev/null
  wait_until 30 ledger_at_least $(($(sql 'select count(*) from booking.command') + 500)) || bail 'the backlog is not worked off'
}

# taken_over OLD NEW
taken_over() {
  fired "$2 is the master instead of $1" wait_until 60 seen "$2"
  REDIS_URL=${REDIS_URL%:*}:$2
  wait_until 20 role_is "$2" master || bail "$2 is no master"
  ok "$scenario: there was work left" test "$(ctl status --json | jq '.inbox + .ready + .waiting + .active')" -gt 0
  healed
  # shellcheck disable=SC2119
  stream_up
}

switched() {
  begin
  backlog "$first" "$second"
  redis-cli -p "$sentinel" sentinel failover booking >/dev/null
  taken_over "$first" "$second"
  # for some seconds there are two masters, and who is connected to the old one learns nothing
  wait_until 60 role_is "$first" slave || bail 'the old master is not demoted'
  healed
  recovers
  wait_until 60 settled "$second" "$first" || bail 'the Sentinels do not come to rest'
  redis-cli -p "$sentinel" sentinel failover booking >/dev/null
  wait_until 60 settled "$first" "$second" || bail 'the Sentinels do not switch back'
  REDIS_URL=${REDIS_URL%:*}:$first
}

# The old master wakes and believes for a while that it is still one.
zombie() {
  begin
  backlog "$first" "$second"
  servers redis-freeze
  taken_over "$first" "$second"
  ok "$scenario: at work while the old one is frozen" wait_until $((10 * slack)) caught_up
  servers redis-thaw
  recovers
  wait_until 60 settled "$second" "$first" || bail 'the Sentinels do not come to rest'
  redis-cli -p "$sentinel" sentinel failover booking >/dev/null
  wait_until 60 settled "$first" "$second" || bail 'the Sentinels do not switch back'
  REDIS_URL=${REDIS_URL%:*}:$first
}

killed() {
  begin
  backlog "$first" "$second"
  servers redis-kill
  taken_over "$first" "$second"
  recovers
}

scenario R3 switched 'Sentinel: the master is switched'
scenario R3b zombie 'Sentinel: the master freezes and is replaced'
scenario R3c killed 'Sentinel: the master is killed'
run_scenarios "$@"
