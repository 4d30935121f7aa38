#!/usr/bin/env bash
# `bookingctl breaker open|closed|auto`: obeyed by all workers, also by one that has just come; seen in /readyz and /metrics.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/faults.sh
. "$(dirname "$0")/../support/faults.sh"

servers_up
migrate

in_state() { metric_is "booking_breaker_state{state=\"$1\"}" "$2"; }
entered() { metric "booking_breaker_transitions_total{to=\"$1\"}"; }
forced() { ctl breaker "$1" >"$T/out" || bail "breaker $1: $(cat "$T/out")"; }
enqueue() { # enqueue COUNT: 1..COUNT more
  awk -v n="$1" -v seed=$((RANDOM + 1)) -v resources=40 -v twice=0 -v prefix="x$RANDOM" -f "$root/tests/support/commands.awk" >"$T/commands"
  ctl enqueue --journal "$T/journal.$(now_ms)" "$T/commands" >"$T/out" || bail "$(cat "$T/out")"
}
told() { [ "$(ctl status --json | jq -c '[.workers[].breaker] | unique')" = "[\"$1\"]" ]; }
# beaten: each worker has spoken to Redis twice more, so it knows what is wanted by now and had time to take
beats() { local n; for n in alice bob; do redis hget "$(key "worker:$n")" beat_at; done; }
beaten() {
  local before after
  for _ in 1 2; do
    before=$(beats)
    while after=$(beats) && [ "${before%$'\n'*}" = "${after%$'\n'*}" ] || [ "${before#*$'\n'}" = "${after#*$'\n'}" ]; do sleep 0.05; done
  done
}

# --- open
scenario=open
begin BOOKING_LEASE_MS=2000
forced open
ok 'open: no worker is ready' wait_until 20 all_ready 503
ok 'open: in the metrics' in_state open 2
is "$(entered open)" 2 'open: one transition each'
ok 'open: bookingctl status tells' wait_until 20 told open
ok 'open: what was held is finished' wait_until 20 depth_is active 0
stream_down
ledger=$(sql 'select count(*) from booking.command') inbox=$(depth inbox)
enqueue 300
beaten
is "$(depth inbox)" $((inbox + 300)) 'open: enqueuing goes on, and nothing is taken'
is "$(sql 'select count(*) from booking.command')" "$ledger" 'open: nothing is done'
is "$(depth active)" 0 'open: nothing is held'
like "$(curl -s "http://127.0.0.1:${http[alice]}/readyz")" '"breaker":"open"' 'open: /readyz says which'
ok 'open: /livez says 200' all_live
is "$(entered half_open)" 0 'open: and it does not probe'

# --- a worker that comes while it is open; a second time, because it is about the first moment of its life
for name in carol dave; do
  port=$(free_port)
  worker_up $name "${usual[@]}" BOOKING_LEASE_MS=2000 BOOKING_HTTP=127.0.0.1:"$port" BOOKING_LANES=8
  ok "open: $name, who comes now, obeys" wait_until 20 readyz "$port" 503
  beaten
  is "$(depth inbox)" $((inbox + 300)) "open: $name has taken nothing"
  stop_worker $name
  is "$status" 0 "open: $name leaves when asked"
done
like "$(ctl audit --json)" 'breaker=open' 'open: the audit tells'

# --- auto: it finds out by itself
forced auto
ok 'auto: ready again' wait_until 20 all_ready 200
ok 'auto: the queue drains' wait_until 60 drained
ok 'auto: both are closed' wait_until 20 in_state closed 2
is "$(entered half_open)" 2 'auto: each has probed'
is "$(metric booking_jobs_retried_total)" 0 'auto: no attempt was spent'
is "$(metric booking_jobs_requeued_total)" 0 'auto: nothing was handed back'
ok 'auto: the judge finds nothing' judge "$T"/journal.*

# --- closed: whatever the database does
scenario=closed
begin BOOKING_LEASE_MS=2000 BOOKING_MAX_REQUEUES=1000
forced closed
beaten
servers pg-stop-immediate
failed() { metric_at_least booking_jobs_requeued_total 40; }
ok 'closed: the workers fail' wait_until 60 failed
ok 'closed: and are ready' all_ready 200
is "$(entered open)" 0 'closed: no breaker has opened'
ok 'closed: in the metrics' in_state closed 2
forced auto
ok 'auto: they open' wait_until 60 all_ready 503
ok 'auto: nothing is held any more' wait_until 20 depth_is active 0
servers pg-start
healed
recovers

# --- what was wanted outlives a worker, and a restart of Redis
forced open
ok 'open again' wait_until 20 all_ready 503
servers redis-kill
servers redis-start
beaten
ok 'open, after a restart of Redis' all_ready 503
forced auto
ok 'auto: ready again' wait_until 20 all_ready 200

is "$(exit_code ctl breaker ajar)" 64 'breaker ajar: 64'
is "$(exit_code ctl breaker)" 64 'breaker: 64'
done_testing
