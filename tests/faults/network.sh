#!/usr/bin/env bash
# The network is slow, swallows everything, or comes and goes; PostgreSQL is gone for long while the queue grows (the clock is
# shortened by the settings, to a tenth); and the wall clock is wrong.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"
# shellcheck source-path=SCRIPTDIR source=../support/proxy.sh
. "$(dirname "$0")/../support/proxy.sh"

# behind_proxies [SETTING=VALUE...]: as begin, but the workers reach both servers through a proxy each
behind_proxies() {
  clean_up
  proxy_up pg pg "127.0.0.1:$PGPORT"
  proxy_up redis resp "127.0.0.1:${REDIS_URL##*:}"
  two_workers DATABASE_URL="postgresql://app_worker@127.0.0.1:${proxy_port[pg]}/booking" \
    REDIS_URL="redis://127.0.0.1:${proxy_port[redis]}" "$@"
  wait_until 20 all_ready 200 || bail 'the workers are not ready'
  # shellcheck disable=SC2119
  stream_up
  wait_until 30 ledger_at_least 80 || bail "$scenario: nothing happens"
}
both() { tell pg "$@" >/dev/null && tell redis "$@" >/dev/null; }

slow() {
  local ms before
  behind_proxies
  for ms in 1 50 500; do
    both latency $ms $((ms / 2))
    before=$(sql 'select count(*) from booking.command')
    fired "$ms ms and up to half as much more each way, and the work goes on" wait_until 30 ledger_at_least $((before + 100))
  done
  is "$(metric booking_breaker_transitions_total'{to="open"}')" 0 "$scenario: no breaker opened"
  both heal
  healed
  recovers
}

# Byte by byte, as some tunnels do.
sliced() {
  local before
  behind_proxies
  both slice 1
  before=$(sql 'select count(*) from booking.command')
  fired 'one byte at a time, and the work goes on' wait_until 60 ledger_at_least $((before + 100))
  both heal
  healed
  recovers
}

# What is sent is swallowed, or what is answered; of either server.
black_hole() {
  local way=$1 server=$2 code=503
  behind_proxies BOOKING_STATEMENT_TIMEOUT_MS=1000 BOOKING_LOCK_TIMEOUT_MS=500 BOOKING_CONNECT_TIMEOUT_MS=500
  tell "$server" blackhole "$way" >/dev/null
  fired "nothing goes $way to $server" wait_until 40 all_ready $code
  tell "$server" heal >/dev/null
  healed
  recovers
}
black_hole_pg_up() { black_hole up pg; }
black_hole_pg_down() { black_hole down pg; }
black_hole_redis_up() { black_hole up redis; }
black_hole_redis_down() { black_hole down redis; }

flapping() {
  local n flaps=5 STREAM_PAUSE=0.1
  [ -z "$long" ] || flaps=30 STREAM_PAUSE=0.5 # a minute or three, which the stream must outlast
  begin
  for ((n = 1; n <= flaps; n++)); do
    servers pg-stop-immediate
    servers redis-kill
    sleep 1 # off
    servers redis-start
    servers pg-start
    sleep 1 # on
  done
  healed
  fired "$flaps times" test "$(grep -c 'database system was interrupted\|not properly shut down' "$T/pg/log")" -ge $flaps
  recovers
}

# The connections of all workers to PostgreSQL's port, made or being made; from the kernel's table.
connections() {
  awk -v port="$(printf '%04X' "$PGPORT")" 'substr($3, length($3) - 3) == port && ($4 == "01" || $4 == "02") { n++ } END { print n + 0 }' \
    /proc/net/tcp
}
started_to_heal() { [ "$(sql "select count(*) from booking.command where applied_at > to_timestamp($healed_at / 1e3)")" -gt 0 ]; }
hole_is_open() { (: <"/dev/tcp/127.0.0.1/$PGPORT") 2>/dev/null; }

gone_long() {
  local jobs=5000 seconds=6 until samples=0 inbox now most_active=0 most_connections=0 least_inbox=1000000 before probes
  begin BOOKING_BREAKER_OPEN_MS=100 BOOKING_BREAKER_OPEN_MAX_MS=3000 BOOKING_CONNECT_TIMEOUT_MS=300 \
    BOOKING_STATEMENT_TIMEOUT_MS=500 BOOKING_LOCK_TIMEOUT_MS=200 BOOKING_POOL_ACQUIRE_TIMEOUT_MS=500 \
    BOOKING_RETRY_BASE_MS=50 BOOKING_LEASE_MS=1500 BOOKING_BATCH=64
  [ -z "$long" ] || jobs=100000 seconds=60 # ten minutes, by a clock that runs ten times as fast
  stream_down
  wait_until 60 drained
  servers pg-stop-fast
  # what was the port of PostgreSQL accepts, and never answers
  perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 100, LocalAddr => "127.0.0.1", LocalPort => $ARGV[0], ReuseAddr => 1)
    or die; push @held, $s->accept while 1' "$PGPORT" &
  helper_pid['hole']=$! # so that it ends with the test, whatever happens
  wait_until 10 hole_is_open || bail 'no black hole'
  awk -v n=$jobs -v seed=$((seed * 1009 + 31)) -v resources=40 -v twice=0 -v prefix=long -f "$root/tests/support/commands.awk" >"$T/commands"
  ctl enqueue --journal "$T/journal.long" "$T/commands" >"$T/out" || bail "$(cat "$T/out")"
  breakers_open
  inbox=$(depth inbox) before=$(metric booking_breaker_transitions_total'{to="half_open"}')
  until=$(($(now_ms) + seconds * 1000))
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
  fired "the breakers probed $probes times" test $probes -ge $((seconds / 5))
  ok "$scenario: but not all the time" test $probes -le $((seconds * 4))
  is "$most_active" 0 "$scenario: nothing was taken meanwhile (of $samples looks)"
  is "$least_inbox" "$inbox" "$scenario: the inbox did not shrink"
  ok "$scenario: at most one connection of each worker at a time, and some ($most_connections)" \
    test "$most_connections" -ge 1 -a "$most_connections" -le 2
  handed_back_rarely
  kill_helper hole
  servers pg-start
  healed
  ok "$scenario: at work again" wait_until $((10 * slack)) started_to_heal
  recovery_ms=$(sql "select (extract(epoch from min(applied_at)) * 1000)::bigint - $healed_at from booking.command where applied_at > to_timestamp($healed_at / 1e3)")
  ok "$scenario: the queue drains" wait_until 120 drained
  none_suffered
  judged
}

# The workers' wall clocks jump an hour ahead, then an hour back: leases, due times and waits are not measured by them.
clock_steps() {
  local seconds
  echo 0 >"$T/clock"
  begin LD_PRELOAD="$(test_program fault-clock.so)" FAULT_CLOCK_FILE="$T/clock" BOOKING_LEASE_MS=2000
  for seconds in 3600 -3600 0; do
    echo $seconds >"$T/clock"
    signal_worker alice TTIN
    fired "alice's clock is $seconds s wrong" wait_until 10 says_so $seconds
    ok "$scenario: the work goes on" wait_until 20 ledger_at_least $(($(sql 'select count(*) from booking.command') + 100))
    ok "$scenario: both keep their leases" both_listed
  done
  healed
  recovers
}
# The hour of the line that TTIN made, and the one it should be.
says_so() {
  local line
  signal_worker alice TTIN
  line=$(grep 'lane 0: ' "$T/alice.log" | tail -n 1 | jq -r .time)
  [ "${line:0:13}" = "$(date -u -d "@$(($(date +%s) + $1))" +%Y-%m-%dT%H)" ]
}
both_listed() { worker_listed alice && worker_listed bob; }

scenario N1 slow 'latency of 1, 50 and 500 ms with jitter'
scenario N1b sliced 'one byte at a time'
scenario N2 black_hole_pg_up 'black hole on the way to PostgreSQL'
scenario N2b black_hole_pg_down 'black hole on the way back from PostgreSQL'
scenario N2c black_hole_redis_up 'black hole on the way to Redis'
scenario N2d black_hole_redis_down 'black hole on the way back from Redis'
scenario N3 flapping 'both servers flap, a second off, a second on'
scenario N4 gone_long 'PostgreSQL gone ten minutes (in fast motion)'
scenario N5 clock_steps 'wall clock stepped an hour each way'
run_scenarios "$@"
