#!/usr/bin/env bash
# What one worker does when its surroundings are not as they should be: options, its HTTP port, a database that refuses,
# misleads or is away, a Redis that is away or lets it do nothing, and jobs that nobody can do.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../support/lib.sh
. "$(dirname "$0")/../support/lib.sh"
servers_up
migrate
servers() { "$root/deploy/servers" "$1" "$T" || bail "deploy/servers $1"; }

serial=0
create() { # create ID [MEMBERS]: a booking with a slot of its own
  serial=$((serial + 1))
  printf '{"id":"%s","kind":"booking.create","args":{"booking_id":"00000000-0000-4000-8000-%012d","resource_id":%d,"customer_id":1,"starts_at":"20%02d-01-01T10:00:00Z","ends_at":"20%02d-01-01T11:00:00Z"}%s}\n' \
    "$1" $serial $((1 + serial % 10)) $((30 + serial / 10)) $((30 + serial / 10)) "${2:+,$2}" >"$T/command"
  ctl enqueue "$T/command" >"$T/out" || bail "enqueue: $(cat "$T/out")"
}
says() { grep -qE "$2" "$T/$1.log"; } # says WORKER REGEX
dead_of() { ctl dead list --json | jq -er --arg id "$1" '.[] | select(.id == $id) | .reason'; }
dead_is() { [ "$(dead_of "$1")" = "$2" ]; }
error_of() { ctl dead list --json | jq -r --arg id "$1" '.[] | select(.id == $id) | .error'; }
fast=(BOOKING_LEASE_MS=1500 BOOKING_RETRY_BASE_MS=20 BOOKING_BREAKER_OPEN_MS=100 BOOKING_BREAKER_OPEN_MAX_MS=200)

# --- at the door

worker() { "$bin/booking-worker" "$@"; }
is "$(exit_code worker surprise)" 64 'an argument: 64'
like "$(cat "$T/err")" 'unexpected argument surprise' 'named'
is "$(exit_code worker --env-file)" 64 'an option without its value: 64'
like "$(cat "$T/err")" 'a value is missing for --env-file' 'named'
printf 'BOOKING_LANES=3\n' >"$T/env"
is "$(exit_code worker --env-file "$T/env" --check-config)" 0 '--env-file'
like "$(cat "$T/out")" 'BOOKING_LANES=3  # file' 'is read'
is "$(BOOKING_LANES=x exit_code worker --check-config)" 78 '--check-config with a fault: 78'
like "$(cat "$T/out")" 'BOOKING_BATCH' 'and what was understood is shown'

# --- its HTTP port

port=$(free_port)
worker_up first BOOKING_HTTP="127.0.0.1:$port"
url=http://127.0.0.1:$port
code() { curl -s -m 5 -o "$T/body" -D "$T/head" -w '%{http_code}' "$@"; }
ok 'ready' wait_until 10 readyz "$port" 200
is "$(code "$url/livez")" 200 '/livez'
is "$(jq -c . "$T/body")" '{"alive":true,"why":null}' 'in JSON'
is "$(code -I "$url/metrics")" 200 'HEAD'
is "$(code "$url/")" 404 'what is not there: 404'
like "$(cat "$T/body")" '/livez, /readyz and /metrics' 'and what is'
is "$(code -X POST -d x "$url/livez")" 405 'POST: 405'
like "$(cat "$T/head")" 'Allow: GET, HEAD' 'and what goes'
start_worker second BOOKING_HTTP="127.0.0.1:$port"
wait_exit second 20
is "$status" 78 'a port that was asked for and is taken: 78'
ok 'which is told' says second 'cannot listen on .*Address already in use'
for name in third fourth; do # one of them finds the default port taken, if nobody else on this machine has it
  start_worker $name BOOKING_HTTP=
  wait_until 20 worker_listed $name || bail "$name does not come up"
done
ok 'the default port, taken: goes on without' says fourth 'going on without /livez'
for name in third fourth; do
  stop_worker $name
  is "$status" 0 "$name leaves"
done

# --- signals that change nothing

signal_worker first TSTP
ok 'TSTP: quiet' wait_until 10 says first 'quiet: taking nothing'
ok 'which /readyz tells' wait_until 10 readyz "$port" 503
like "$(curl -s "$url/readyz")" '"state":"quiet"' 'as what it is'
ok 'and bookingctl workers' wait_until 10 bash -c "'$bin/bookingctl' workers | grep -q 'first.*quiet'"
signal_worker first TSTP
signal_worker first CONT
signal_worker first CONT
ok 'CONT: goes on' wait_until 10 readyz "$port" 200
signal_worker first TTIN
ok 'TTIN: what each lane is at' wait_until 10 says first 'lane 0: .* since [0-9]+ ms, [0-9]+ jobs'
is "$(grep -c 'quiet: taking' "$T/first.log") $(grep -c 'going on: taking' "$T/first.log")" '1 1' 'news is told once'
ctl pause >/dev/null
paused() { curl -s "$url/readyz" | grep -q '"state":"paused"'; }
ok 'paused: /readyz tells' wait_until 10 paused
ctl resume >/dev/null
stop_worker first

# --- a database that refuses

sql "create function public.refuse() returns trigger language plpgsql as \$\$ begin
       if new.customer_id = 13 then raise exception 'not thirteen' using errcode = current_setting('test.code'); end if;
       return new;
     end \$\$;
     create trigger refuse before insert on booking.booking for each row execute function public.refuse()"
refusing() { sql "alter role app_worker set test.code = '$1'"; }
warning() { sql "create or replace function public.warn() returns trigger language plpgsql as \$\$ begin raise warning 'lagging' using errcode = '01000'; return new; end \$\$"; }
warning
sql 'create trigger warn before insert on booking.booking for each row execute function public.warn()'
worker_up w "${fast[@]}"
create lagging
ok 'a commit that may not have reached the standby is told' wait_until 20 says w 'durability degraded'
ok 'and is one' wait_until 20 ledger_has lagging
stop_worker w
sql 'drop trigger warn on booking.booking'
refusing P0001
ctl pause >/dev/null
for n in {1..9}; do create "good-$n"; done
serial=$((serial + 1))
sed "s/\"id\":\"[^\"]*\"/\"id\":\"bad\",\"reply\":1/; s/\"customer_id\":1,/\"customer_id\":13,/; s/000000000009/000000000013/; s/2030-/2077-/g" "$T/command" | ctl enqueue - >/dev/null
ctl resume >/dev/null
worker_up w "${fast[@]}"
ok 'of a batch the one that the database refuses is dead' wait_until 20 dead_is bad database_refused
like "$(error_of bad)" 'not thirteen' 'and why'
is "$(ctl dead list --json | jq -r '.[0].sqlstate')" P0001 'with the SQLSTATE'
like "$(redis --raw blpop "$(key reply:bad)" 5 | tail -n 1)" '"outcome":"dead","code":"database_refused"' 'who waits for a reply hears of it'
ok 'the others are done' wait_until 20 drained
is "$(sql "select count(*) from booking.command where id like 'good-%' and outcome = 'applied'")" 9 'all nine'
stop_worker w
refusing 40001
worker_up w "${fast[@]}" BOOKING_MAX_ATTEMPTS=1
sed "s/\"id\":\"[^\"]*\"/\"id\":\"tired\"/; s/\"customer_id\":1,/\"customer_id\":13,/; s/000000000009/000000000014/; s/2030-/2078-/g" "$T/command" | ctl enqueue - >/dev/null
ok 'contention without end: too many attempts' wait_until 20 dead_is tired too_many_attempts
stop_worker w

# --- a database that misleads

original=$(sql "select pg_get_functiondef('booking.apply(jsonb)'::regprocedure)")
misleading() { sql "create or replace function booking.apply(commands jsonb) returns $returns language sql security definer as \$\$ $1 \$\$"; }
returns=$(sql "select pg_get_function_result('booking.apply(jsonb)'::regprocedure)")
columns=$(sql "select string_agg(format('null::%s', t::regtype), ', ' order by n) from pg_proc, unnest(proallargtypes[2:]) with ordinality a(t, n) where oid = 'booking.apply(jsonb)'::regprocedure")
misleading "select $columns where false"
create misled
worker_up w "${fast[@]}"
ok 'an answer that is too short is an operator'\''s matter' wait_until 20 says w 'booking.apply gave 0 rows for 1 commands'
misleading "select $columns from jsonb_array_elements(commands)"
create misled-too
ok 'so is one that does not say whose it is' wait_until 20 says w 'booking.apply answered out of order'
sql "$original"
ok 'and when the function is itself again, the job is done' wait_until 30 drained
is "$(sql "select outcome from booking.command where id = 'misled'")" applied 'well'
stop_worker w

# --- jobs that nobody can do any more

hold 'lock table booking.booking in share row exclusive mode'
create murderous
worker_up w "${fast[@]}" BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000
wait_until 20 depth_is active 1 || bail 'the worker does not take it'
kill_worker w
worker_up w "${fast[@]}" BOOKING_MAX_DELIVERIES=1
ok 'one whose worker died is poison' wait_until 20 dead_is murderous poison
like "$(error_of murderous)" '1 workers died while they held it' 'and says of how many'
create late "\"expires_at\":$(($(now_ms) + 4000))"
stop_worker w
worker_up w "${fast[@]}" BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000
wait_until 20 depth_is active 1 || bail 'the worker does not take it'
kill_worker w
past() { [ "$(now_ms)" -ge "$1" ]; }
wait_until 10 past $(($(now_ms) + 4000)) || true
let_go
worker_up w "${fast[@]}"
ok 'one whose time is over, and that may have been tried, is expired' wait_until 20 dead_is late expired
is "$(sql "select outcome || ' ' || code from booking.command where id = 'late'")" 'dead expired' 'and its id is barred'
stop_worker w

# --- a ledger that is pruned

sql "insert into booking.command select (jsonb_populate_record(c, jsonb_build_object('id', 'old-' || g, 'applied_at', now() - interval '10 days'))).*
     from booking.command c, generate_series(1, 12) g where c.id = 'good-1'"
worker_up w "${fast[@]}" BOOKING_LEDGER_RETENTION_DAYS=5
pruned() { [ "$(sql "select count(*) from booking.command where id like 'old-%'")" = 0 ]; }
ok 'rows older than the retention go' wait_until 20 pruned
ok 'which is told' wait_until 10 says w 'pruned 12 ledger rows older than 5 days'
is "$(sql "select count(*) from booking.command where id like 'good-%'")" 9 'no others'
stop_worker w
sql 'alter function booking.prune(int, int) rename to trim'
worker_up w "${fast[@]}" BOOKING_LEDGER_RETENTION_DAYS=5
ok 'a prune that fails is told' wait_until 20 says w 'pruning the ledger: .*booking.prune'
create while-it-fails
ok 'and hinders nobody' wait_until 20 ledger_has while-it-fails
stop_worker w
sql 'alter function booking.trim(int, int) rename to prune'

# --- PostgreSQL away

worker_up w "${fast[@]}" BOOKING_LOG_LEVEL=query
servers pg-stop-immediate
for n in {1..20}; do create "away-$n"; done
ok 'PostgreSQL away: the breaker opens' wait_until 30 says w '"message":"circuit breaker.*open'
ok 'what was held is handed back, which is told to who asks for everything' wait_until 20 says w '"level":"query".*handed back'
ok 'a probe tells' wait_until 20 says w 'probe of the database failed'
servers pg-start
ok 'and back: all is done' wait_until 30 drained
is "$(sql "select count(*) from booking.command where id like 'away-%' and outcome = 'applied'")" 20 'well'
sql 'alter system set default_transaction_read_only = on' && sql 'select pg_reload_conf()' >/dev/null
create frozen
ok 'a database that takes no writes any more is none' wait_until 20 says w 'read-only'
psql -XAtq -c 'set default_transaction_read_only = off' -c 'alter system reset default_transaction_read_only' -c 'select pg_reload_conf()' >/dev/null
ok 'and when it does again, all is done' wait_until 60 ledger_has frozen
stop_worker w
servers pg-stop-immediate
create hopeless
worker_up w "${fast[@]}" BOOKING_MAX_REQUEUES=1 BOOKING_BREAKER_CONSECUTIVE=100 BOOKING_BREAKER_MIN_CALLS=100 BOOKING_BREAKER_WINDOW=100
ctl breaker closed >/dev/null
ok 'handed back too often: circuit_open' wait_until 40 dead_is hopeless circuit_open
ctl breaker auto >/dev/null
servers pg-start
stop_worker w

# --- Redis away

worker_up w "${fast[@]}"
servers redis-kill
ok 'Redis away: the housekeeper tells' wait_until 20 says w 'housekeeper: .*trying again'
ok 'and the watcher' wait_until 20 says w 'watcher: .*found by looking instead'
sleep_for_retries() { [ "$(grep -c 'trying again' "$T/w.log")" -ge 2 ]; }
wait_until 3 sleep_for_retries || true
servers redis-start
create back
ok 'and back: work goes on' wait_until 20 ledger_has back
servers redis-kill
ok 'TERM without Redis' signal_worker w TERM
wait_exit w 40
is "$status" 0 'ends all the same'
port=$(free_port)
start_worker orphan "${fast[@]}" BOOKING_HTTP="127.0.0.1:$port"
ok 'a worker that never finds Redis says so' wait_until 20 says orphan 'housekeeper: .*refused'
is "$(code "http://127.0.0.1:$port/readyz") $(jq -c '[.redis, .state]' "$T/body")" '503 [false,"starting"]' 'is not ready'
is "$(code "http://127.0.0.1:$port/livez")" 200 'but alive'
is "$(code "http://127.0.0.1:$port/metrics") $(grep -c booking_queue_jobs "$T/body" || true)" '200 0' 'tells nothing of a queue that it has never seen'
stop_worker orphan
is "$status" 0 'and leaves when asked'
servers redis-start

# Commands are sent one after another and the connection dies between: what was acknowledged is told apart.
redis acl setuser default -zadd >/dev/null
start_worker powerless "${fast[@]}"
ok 'a right that lacks is an operator'\''s matter' wait_until 20 says powerless '"level":"error".*(NOPERM|may not)'
redis acl setuser default +@all >/dev/null
ok 'and when it is given, the worker joins' wait_until 20 worker_listed powerless

# --- a lease that has run out

hold 'lock table booking.booking in share row exclusive mode'
stop_worker powerless
worker_up slow "${fast[@]}" BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000 BOOKING_LANES=1
create contested
wait_until 20 depth_is active 1 || bail 'the worker does not take it'
signal_worker slow STOP
worker_up heir "${fast[@]}" BOOKING_LOCK_TIMEOUT_MS=8000 BOOKING_STATEMENT_TIMEOUT_MS=9000 BOOKING_LANES=1
of_heir() { [ "$(ctl workers --json | jq '.[] | select(.name == "heir").held')" = 1 ]; }
ok 'a worker that sleeps too long loses its job to another' wait_until 20 of_heir
let_go
ok 'which does it' wait_until 20 ledger_has contested
signal_worker slow CONT
ok 'the sleeper finds out' wait_until 20 says slow 'the lease had run out'
ok 'and that the job is not its own any more' wait_until 20 says slow 'were not ours any more'
is "$(sql "select concat_ws(' ', outcome, code, (select version from booking.booking b where b.id = booking_id)) from booking.command where id = 'contested'")" 'applied 1' 'it was done once'
create after
ok 'both go on' wait_until 20 ledger_has after
for name in slow heir; do
  stop_worker $name
  is "$status" 0 "$name leaves"
done
done_testing
