-- What the tables refuse, and who may do what.

begin;
\ir helpers.psql
select no_plan();

create function t.insert(during tstzrange, status text default 'pending', version int default 1) returns void language sql volatile
as $$ insert into booking.booking (id, resource_id, customer_id, during, status, version)
      values (gen_random_uuid(), 9001, 7, during, status, version) $$;

select lives_ok($$select t.insert('[2030-01-01 10:00Z, 2030-01-01 11:00Z)')$$, 'a slot');
select throws_ok($$select t.insert('[2030-01-01 10:30Z, 2030-01-01 11:30Z)', 'confirmed')$$, '23P01', null, 'an overlap');
select lives_ok($$select t.insert('[2030-01-01 10:30Z, 2030-01-01 11:30Z)', 'cancelled')$$, 'an overlap of a cancelled one');
select throws_ok($$select t.insert(null)$$, '23502', null, 'no slot');
select throws_ok($$select t.insert('empty')$$, '23514', null, 'an empty slot');
select throws_ok($$select t.insert('[2030-01-01 12:00Z, 2030-01-01 13:00Z]')$$, '23514', null, 'bounds []');
select throws_ok($$select t.insert('(2030-01-01 12:00Z, 2030-01-01 13:00Z]')$$, '23514', null, 'bounds (]');
select throws_ok($$select t.insert('(2030-01-01 12:00Z, 2030-01-01 13:00Z)')$$, '23514', null, 'bounds ()');
select throws_ok($$select t.insert('[2030-01-01 12:00Z,)')$$, '23514', null, 'no end');
select throws_ok($$select t.insert('(,2030-01-01 12:00Z)')$$, '23514', null, 'no start');
select throws_ok($$select t.insert('(,)')$$, '23514', null, 'neither');
select throws_ok($$select t.insert('[2030-01-01 12:00Z, infinity)')$$, '23514', null, 'an end at infinity');
select throws_ok($$select t.insert('[-infinity, 2030-01-01 12:00Z)')$$, '23514', null, 'a start at minus infinity');
select throws_ok($$select t.insert('[1999-12-31 23:59:59Z, 2000-01-01 01:00Z)')$$, '23514', null, 'before the year 2000');
select throws_ok($$select t.insert('[2199-12-31 23:00Z, 2200-01-01 00:00:01Z)')$$, '23514', null, 'after the year 2199');
select lives_ok($$select t.insert('[2000-01-01 00:00Z, 2000-01-01 01:00Z)')$$, 'the first hour');
select lives_ok($$select t.insert('[2199-12-31 22:00Z, 2199-12-31 23:59:59.999999Z)')$$, 'the last hours');
select throws_ok($$select t.insert('[2031-01-01 10:00Z, 2031-01-01 11:00Z)', 'waiting')$$, '23514', null, 'an unknown status');
select throws_ok($$select t.insert('[2031-01-01 10:00Z, 2031-01-01 11:00Z)', 'pending', 0)$$, '23514', null, 'a version below 1');

create function t.ledger(outcome text, code text, version int, fingerprint bytea default sha256('x')) returns void language sql volatile
as $$ insert into booking.command (id, ticket, kind, booking_id, fingerprint, outcome, code, version, enqueued_at, worker)
      values (gen_random_uuid()::text, '1-1', 'booking.create', gen_random_uuid(), fingerprint, outcome, code, version, now(), 'w') $$;

select lives_ok($$select t.ledger('applied', null, 1)$$, 'a ledger row');
select throws_ok($$select t.ledger('maybe', 'x', 1)$$, '23514', null, 'an unknown outcome');
select throws_ok($$select t.ledger('applied', 'slot_taken', 1)$$, '23514', null, 'applied with a code');
select throws_ok($$select t.ledger('applied', null, null)$$, '23514', null, 'applied without a version');
select throws_ok($$select t.ledger('rejected', null, 1)$$, '23514', null, 'rejected without a code');
select throws_ok($$select t.ledger('dead', null, 1)$$, '23514', null, 'dead without a code');
select throws_ok($$select t.ledger('applied', null, 1, 'short')$$, '23514', null, 'a fingerprint that is none');

-- The constraints that correctness rests on, by name.
select ok(exists (select from pg_constraint where conname = 'booking_no_overlap' and contype = 'x' and convalidated),
          'the exclusion constraint is there');
select col_is_pk('booking', 'command', 'id', 'the ledger has its primary key');
select is((select string_agg(conrelid::regclass || '.' || conname, ', ') from pg_constraint
            where connamespace = 'booking'::regnamespace and conname !~ ('^' || (select relname from pg_class where oid = conrelid) || '_')),
          null, 'every constraint is named after its table');

-- Who owns it
select is((select string_agg(relname, ', ') from pg_class
            where relnamespace = 'booking'::regnamespace and relowner <> 'booking_owner'::regrole), null, 'booking_owner owns every relation');
select is((select string_agg(proname, ', ') from pg_proc
            where pronamespace = 'booking'::regnamespace and proowner <> 'booking_owner'::regrole), null, 'and every function');

-- What the worker may do
select table_privs_are('booking', tab, 'booking_worker', array['SELECT'], 'booking_worker may only read ' || tab)
  from unnest(array['resource', 'booking', 'command', 'schema_migration']) tab;
select table_privs_are('booking', tab, 'booking_reader', array['SELECT'], 'booking_reader may only read ' || tab)
  from unnest(array['resource', 'booking', 'command', 'schema_migration']) tab;
select schema_privs_are('booking', role, array['USAGE'], role || ' may use the schema, not create in it')
  from unnest(array['booking_worker', 'booking_reader']) role;
select ok(not has_schema_privilege('public', 'booking', 'usage'), 'nobody else may even use the schema');
select is((select array_agg(p.oid::regprocedure::text order by 1) from pg_proc p
            where p.pronamespace = 'booking'::regnamespace and has_function_privilege('booking_worker', p.oid, 'execute')),
          array['booking.apply(jsonb)', 'booking.prune(integer,integer)'], 'booking_worker executes apply and prune, nothing else');
select is((select array_agg(p.oid::regprocedure::text) from pg_proc p
            where p.pronamespace = 'booking'::regnamespace and has_function_privilege('booking_reader', p.oid, 'execute')),
          null, 'booking_reader executes nothing');
select is((select array_agg(p.oid::regprocedure::text) from pg_proc p
            where p.pronamespace = 'booking'::regnamespace and p.prosecdef
              and not coalesce(p.proconfig @> array['search_path=pg_catalog, pg_temp'], false)),
          null, 'a security definer function fixes its search_path');

-- And what it can do in fact
grant usage on schema t to booking_worker;
grant execute on all functions in schema t to booking_worker;
set local role booking_worker;
select is(t.apply(t.create('w1', 1, 10, 11)), 'w1 applied v1', 'the worker applies');
select is(booking.prune(1, 1), 0, 'the worker prunes');
select throws_ok('delete from booking.command', '42501', null, 'no delete from the ledger');
select throws_ok('delete from booking.booking', '42501', null, 'no delete of a booking');
select throws_ok($$update booking.booking set version = 9$$, '42501', null, 'no update of a booking');
select throws_ok($$update booking.command set outcome = 'applied'$$, '42501', null, 'no update of the ledger');
select throws_ok($$insert into booking.resource values (1, 'mine')$$, '42501', null, 'no insert into resource');
select throws_ok('truncate booking.command', '42501', null, 'no truncate');
select throws_ok('create table booking.mine ()', '42501', null, 'no tables of its own');
select throws_ok($$select booking.run_again()$$, '42501', null, 'no inner functions');
reset role;

-- A temporary table or a schema of the caller's does not get between apply() and its tables.
create temporary table booking (id uuid);
create temporary table command (id text);
select is(t.apply(t.create('w2', 2, 11, 12)), 'w2 applied v1', 'names of the caller do not matter');

select * from finish();
rollback;
