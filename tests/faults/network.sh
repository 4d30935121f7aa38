#!/usr/bin/env bash
# Both servers come and go; and PostgreSQL is gone for long while the queue grows (the clock is shortened by the settings,
# to a tenth).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

servers_up
migrate

flapping() {
  local n
  begin
  for n in {1..10}; do
    servers pg-stop-immediate
    servers redis-kill
    sleep 1 # off
    servers redis-start
    servers pg-start
    sleep 1 # on
  done
  healed
  fired "$n times" test "$(grep -c 'database system was interrupted\|not properly shut down' "$T/pg/log")" -ge 10
  recovers
}

# The connections of all workers to PostgreSQL's port, made or being made; from the kernel's table.
connections() {
  awk -v port="$(printf '%04X' "$PGPORT")" 'substr($3, length($3) - 3) == port && ($4 == "01" || $4 == "02") { n++ } END { print n + 0 }' \
    /proc/net/tcp
}
started_to_heal() { [ "$(sql "select count(*) from booking.command where applied_at > to_timestamp($healed_at / 1e3)")" -gt 0 ]; }
hole_is_open() { (: <"/dev/tcp/127.0.0.1/$PGPORT") 2>/dev/null; }

long() {
  local until samples=0 inbox now most_active=0 most_connections=0 least_inbox=1000000 before probes most
  begin BOOKING_BREAKER_OPEN_MS=100 BOOKING_BREAKER_OPEN_MAX_MS=3000 BOOKING_CONNECT_TIMEOUT_MS=300 \
    BOOKING_STATEMENT_TIMEOUT_MS=500 BOOKING_LOCK_TIMEOUT_MS=200 BOOKING_POOL_ACQUIRE_TIMEOUT_MS=500 \
    BOOKING_RETRY_BASE_MS=50 BOOKING_LEASE_MS=1500 BOOKING_BATCH=64
  stream_down
  wait_until 60 drained
  servers pg-stop-fast
  # what was the port of PostgreSQL accepts, and never answers
  perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 100, LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], ReuseAddr => 1)
    or die; push @held, $s->accept while 1' "$PGPORT" &
  worker_pid['hole']=$! # so that it ends with the test, whatever happens
  wait_until 10 hole_is_open || bail 'no black hole'
  awk -v n=20000 -v seed=31 -v resources=40 -v twice=0 -v prefix=long -f "$root/tests/support/commands.awk" >"$T/commands"
  ctl enqueue --journal "$T/journal.long" "$T/commands" >"$T/out" || bail "$(cat "$T/out")"
  breakers_open
  inbox=$(depth inbox) before=$(metric booking_breaker_transitions_total'{to="half_open"}')
  until=$(($(now_ms) + 20000))
  while [ "$(now_ms)" -lt $until ]; do
    read -r now active < <(ctl status --json | jq -r '"\(.inbox) \(.active)"')
    samples=$((samples + 1))
    [ "$active" -le "$most_active" ] || most_active=$active
    [ "$now" -ge "$least_inbox" ] || least_inbox=$now
    now=$(connections)
    [ "$now" -le "$most_connections" ] || most_connections=$now
    sleep 0.05
  done
  probes=$(($(metric booking_breaker_transitions_total'{to="half_open"}') - before))
  fired "the breakers probed $probes times" test $probes -ge 4
  ok "$scenario: but not all the time" test $probes -le 80
  is "$most_active" 0 "$scenario: nothing was taken meanwhile (of $samples looks)"
  is "$least_inbox" "$inbox" "$scenario: the inbox did not shrink"
  ok "$scenario: at most one connection of each worker at a time, and some ($most_connections)" \
    test "$most_connections" -ge 1 -a "$most_connections" -le 2
  most=$(most_requeues)
  ok "$scenario: no job was handed back more than 5 times ($most)" test "$most" -le 5
  kill_worker hole
  servers pg-start
  healed
  ok "$scenario: at work again" wait_until $((10 * slack)) started_to_heal
  diag "after $(sql "select round(extract(epoch from min(applied_at)) * 1000) - $healed_at from booking.command where applied_at > to_timestamp($healed_at / 1e3)") ms"
  ok "$scenario: the queue drains" wait_until 60 drained
  none_suffered
  ok "$scenario: the judge finds nothing" judge "$T"/journal.*
}

run flapping
run long
done_testing
