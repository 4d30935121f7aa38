#!/usr/bin/env bash
# bookingctl bench: it measures, and leaves nothing behind, whether it goes well or not.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
migrate

left() { sql "select (select count(*) from booking.booking), (select count(*) from booking.command), (select count(*) from booking.resource where id < 0)"; }
keys_left() { redis keys '{bench*' | grep -v '^$' || true; }

is "$(exit_code ctl bench --jobs 1000 --samples 30 --workers 1)" 0 'bench'
like "$(cat "$T/out")" '^1000 jobs .* by 1 workers' 'what it did'
for line in 'throughput +[0-9]+ jobs/s' 'p50 [0-9.]+ ms, p99 [0-9.]+ ms' 'Redis CPU +[0-9.]+ us a job' 'worker RSS +[0-9]+ kB'; do
  like "$(cat "$T/out")" "$line" "it tells: $line"
done
is "$(left)" '0|0|0' 'nothing is left in the database'
is "$(keys_left)" '' 'nor in Redis'
is "$(exit_code ctl bench --jobs 300 --samples 10 --workers 2 --json)" 0 'bench --json'
is "$(jq -r '[.jobs, .workers, (.jobs_per_second > 0), (.latency_p50_ms <= .latency_p99_ms), (.worker_rss_kb > 1000)] | join(" ")' "$T/out")" \
  '300 2 true true true' 'in numbers'
is "$(left)" '0|0|0' 'nothing is left'

for wrong in '--jobs 1000001' '--workers 17' '--samples 100001' '--jobs 0' 'now'; do
  # shellcheck disable=SC2086 # two words
  is "$(exit_code ctl bench $wrong)" 64 "bench $wrong: 64"
done

is "$(DATABASE_URL=$(worker_database_url) exit_code ctl bench --jobs 10)" 77 'a role that may not make resources: 77'
like "$(cat "$T/err")" 'needs a DATABASE_URL that may write booking.resource' 'and it says what it needs'
is "$(keys_left)" '' 'before anything was enqueued'

# workers that cannot start: a copy of bookingctl with no worker beside it
mkdir "$T/lonely"
cp "$bin/bookingctl" "$T/lonely/"
is "$(exit_code "$T/lonely/bookingctl" bench --jobs 10 --samples 1 --workers 1)" 69 'no worker comes: 69'
like "$(cat "$T/err")" 'booking-worker: No such file' 'why'
like "$(cat "$T/err")" 'nothing moves any more; 10 jobs are left, 0 workers are there' 'and what is left'
is "$(left)|$(keys_left)" '0|0|0|' 'nothing is'
done_testing
