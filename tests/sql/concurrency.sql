-- What happens when sessions meet: two more sessions (dblink) hold their transactions open while each other waits. Nothing
-- sleeps; a step goes on when pg_locks says that the other session is blocked, so the order of events is the same each time.
-- What the sessions commit is deleted at the end; names and resources are this run's own, so leftovers could not matter.

begin;
\ir helpers.psql
create extension if not exists dblink;
select no_plan();

-- This run's resource, and this run's ids and bookings.
select set_config('t.run', 'r' || pg_backend_pid() || '.' || extract(epoch from clock_timestamp())::bigint, true),
       set_config('t.resource', (extract(epoch from clock_timestamp())::bigint * 100000 + pg_backend_pid() % 100000)::text, true) as unused \gset
create function t.run() returns text language sql stable as $$ select current_setting('t.run') $$;
create function t.resource() returns bigint language sql stable as $$ select current_setting('t.resource')::bigint $$;
create or replace function t.uuid(n int) returns uuid language sql stable
as $$ select md5(t.run() || n)::uuid $$;

create function t.connect(session text) returns text language sql volatile
as $$
  select dblink_connect(session, format('host=%s port=%s dbname=%s user=%s',
           split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), current_user))
$$;

create function t.do(session text, command text) returns text language sql volatile as $$ select dblink_exec(session, command) $$;

-- A set of commands as the text of a query that answers like t.apply() does.
create function t.query(variadic commands jsonb[]) returns text language sql stable
as $$
  select format($q$select string_agg(concat(split_part(id, '/', 2), ' ', outcome, '/' || code, ' v' || version,
                                            case when repeated then ' repeated' end), ', ') from booking.apply(%L)$q$,
                to_jsonb(commands))
$$;

create function t.ask(session text, query text) returns text language sql volatile
as $$ select answer from dblink(session, query) as a (answer text) $$;

-- Start a query in a session and come back when it waits for a lock (or has ended, then the test that follows fails).
create function t.start(session text, query text) returns text language plpgsql volatile
as $$
declare
  its_pid int := t.ask(session, 'select pg_backend_pid()::text')::int;
begin
  perform dblink_send_query(session, query);
  while dblink_is_busy(session) = 1 loop
    if cardinality(pg_blocking_pids(its_pid)) > 0 then return 'waits'; end if;
  end loop;
  return 'does not wait';
end
$$;

-- The answer of what was started, or its SQLSTATE.
create function t.finish(session text) returns text language plpgsql volatile
as $$
declare
  answer text;
begin
  begin
    select a.answer into answer from dblink_get_result(session) as a (answer text);
  exception when others then
    answer := sqlstate;
  end;
  perform * from dblink_get_result(session) as a (answer text);
  return answer;
end
$$;

create function t.id(id text) returns text language sql stable as $$ select t.run() || '/' || id $$;
create function t.book(id text, n int, starts numeric, ends numeric) returns jsonb language sql stable
as $$ select t.create(t.id(id), n, starts, ends, t.resource()) $$;
create function t.move(id text, n int, starts numeric, ends numeric) returns jsonb language sql stable
as $$ select t.reschedule(t.id(id), n, starts, ends) $$;
create function t.to(id text, kind text, n int) returns jsonb language sql stable
as $$ select t.command(t.id(id), kind, n) $$;

select t.connect('a') as a, t.connect('b') as b, t.connect('c') as c \gset
select t.do('a', format('insert into booking.resource (id, name) values (%s, %L)', t.resource(), t.run())) as unused \gset

-- One id in two sessions at once
select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.book('c1', 1, 1, 2))), 'c1 applied v1', 'a create in an open transaction');
select is(t.start('b', t.query(t.book('c1', 1, 1, 2))), 'waits', 'the same command elsewhere waits for it');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), '23505', 'it loses');
select is(t.ask('b', t.query(t.book('c1', 1, 1, 2))), 'c1 applied v1 repeated', 'run again, it finds the outcome');

select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.to('f1', 'booking.confirm', 1))), 'f1 applied v2', 'a confirm in an open transaction');
select is(t.start('b', t.query(t.to('f1', 'booking.confirm', 1))), 'waits', 'the same confirm waits');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), '23505', 'it loses');
select is(t.ask('b', t.query(t.to('f1', 'booking.confirm', 1))), 'f1 applied v2 repeated', 'run again, it finds the outcome');
select is((select version from booking.booking where id = t.uuid(1)), 2, 'and the booking moved once');

select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.to('x1', 'booking.cancel', 99))), 'x1 rejected/unknown_booking', 'a rejection in an open transaction');
select is(t.start('b', t.query(t.to('x1', 'booking.cancel', 99))), 'waits', 'the same command waits, if only at the ledger');
select t.do('a', 'rollback') as unused \gset
select is(t.finish('b'), 'x1 rejected/unknown_booking', 'the first one is undone: the second decides');

select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.book('c2', 2, 3, 4))), 'c2 applied v1', 'a create');
select is(t.start('b', t.query(t.book('c2', 2, 3, 4))), 'waits', 'the same create waits');
select t.do('a', 'rollback') as unused \gset
select is(t.finish('b'), 'c2 applied v1', 'the first one is undone: the second has the effect');

-- Two creates that want one slot
select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.book('c3', 3, 5, 6))), 'c3 applied v1', 'a slot in an open transaction');
select is(t.start('b', t.query(t.book('c4', 4, 5.5, 6.5), t.book('c5', 5, 7, 8))), 'waits', 'who wants it too waits');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), 'c4 rejected/slot_taken, c5 applied v1', 'slot_taken without an error; its neighbour in the set is applied');

select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.book('c6', 6, 9, 10))), 'c6 applied v1', 'a slot');
select is(t.start('b', t.query(t.book('c7', 7, 9, 10))), 'waits', 'who wants it too waits');
select t.do('a', 'rollback') as unused \gset
select is(t.finish('b'), 'c7 applied v1', 'the slot came free');

-- Two reschedules to one slot
select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.move('r1', 1, 20, 21))), 'r1 applied v3', 'a reschedule in an open transaction');
select is(t.start('b', t.query(t.move('r2', 3, 20, 21))), 'waits', 'another to the same slot waits');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), '23P01', 'the constraint refuses it');
select is(t.ask('b', t.query(t.move('r2', 3, 20, 21))), 'r2 rejected/slot_taken v1', 'run again, it is slot_taken');

-- Two commands of one booking: the second is judged by what the first has left.
select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.to('x2', 'booking.cancel', 2))), 'x2 applied v2', 'a cancel in an open transaction');
select is(t.start('b', t.query(t.to('f2', 'booking.confirm', 2))), 'waits', 'a confirm waits');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), 'f2 rejected/not_pending v2', 'and finds the booking cancelled');

-- What was seen by one statement and by the next does not add up: no answer is made of it.
select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.to('f3', 'booking.confirm', 3))), 'f3 applied v2', 'a confirm in an open transaction');
select is(t.start('b', t.query(t.to('x3', 'booking.cancel', 3), t.to('f4', 'booking.confirm', 8))), 'waits',
          'a set waits for it, which also wants to confirm a booking that is not there');
select is(t.ask('c', t.query(t.book('c8', 8, 30, 31))), 'c8 applied v1', 'that booking comes to be meanwhile');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), '40001', 'neither unknown nor confirmed');
select is(t.ask('b', t.query(t.to('x3', 'booking.cancel', 3), t.to('f4', 'booking.confirm', 8))), 'x3 applied v3, f4 applied v2',
          'run again, both are applied');

-- The fence: an expired command has no effect by the hand of an older transaction that is still on its way.
select t.do('c', 'begin') as unused \gset
select is(t.ask('c', t.query(t.book('c9', 9, 40, 41))), 'c9 applied v1', 'somebody holds a slot');
select is(t.start('a', t.query(t.book('c10', 10, 40, 41))), 'waits', 'an old transaction waits for it');
select is(t.ask('b', t.query(t.book('c10', 10, 40, 41) || '{"expired": true}')), 'c10 dead/expired', 'its command expires');
select t.do('c', 'rollback') as unused \gset
select is(t.finish('a'), '23505', 'the old transaction is undone, though the slot is free');
select is((select count(*)::int from booking.booking where id = t.uuid(10)), 0, 'it had no effect');

select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.book('c11', 11, 42, 43))), 'c11 applied v1', 'an old transaction that was faster');
select is(t.start('b', t.query(t.book('c11', 11, 42, 43) || '{"expired": true}')), 'waits', 'the fence waits for it');
select t.do('a', 'commit') as unused \gset
select is(t.finish('b'), '23505', 'and loses');
select is(t.ask('b', t.query(t.book('c11', 11, 42, 43) || '{"expired": true}')), 'c11 applied v1 repeated', 'so the command was in time');

-- Pruning stands in nobody's way.
select t.do('a', format('update booking.command set applied_at = %L where id = %L', '2001-01-01', t.id('c1'))) as unused \gset
select t.do('a', 'begin') as unused \gset
select is(t.ask('a', t.query(t.book('c1', 1, 1, 2))), 'c1 applied v1 repeated', 'a repeat in an open transaction');
select is(t.start('b', 'select booking.prune(5000, 1)::text'), 'does not wait', 'a pruner does not wait for its row');
select is(t.finish('b'), '0', 'it leaves it for later');
select t.do('a', 'commit') as unused \gset

select t.do('a', format('delete from booking.command where starts_with(id, %L)', t.run())) as x,
       t.do('a', format('delete from booking.booking where resource_id = %s', t.resource())) as y,
       t.do('a', format('delete from booking.resource where id = %s', t.resource())) as z \gset
select count(dblink_disconnect(session)) as unused from unnest(array['a', 'b', 'c']) session \gset

select * from finish();
rollback;
