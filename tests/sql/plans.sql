-- The cost of a command must not depend on what the tables looked like when the session planned its statements: a session
-- begins on tables in one state or another, runs thousands of commands of every kind, and there is to be not one sequential
-- scan, nor an index scan that reads more than the rows asked for.

begin;
\ir helpers.psql
select no_plan();

-- Counts of this transaction, less what it had done before.
create function t.scans(tab regclass, out seq bigint, out read bigint) language sql volatile
as $$
  select pg_stat_get_xact_numscans(tab),
         (select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index where indrelid = tab)::bigint
$$;

-- Sixty-four commands: forty creates, and eight each of confirm, reschedule and cancel of the bookings of the set before.
create function t.fill(sets int) returns int language plpgsql volatile
as $$
declare
  applied int := 0;
begin
  for s in 1..sets loop
    applied := applied + (
      select count(*)
        from booking.apply((
          select jsonb_agg(case when n <= 40 then t.create(format('p%s.%s', s, n), s * 100 + n, s * 50 + n, s * 50 + n + 1)
                                when n <= 48 then t.command(format('p%s.%s', s, n), 'booking.confirm', (s - 1) * 100 + n - 40)
                                when n <= 56 then t.reschedule(format('p%s.%s', s, n), (s - 1) * 100 + n - 40, s * 50 + n, s * 50 + n + 1, '{"resource_id": 9002}')
                                else t.command(format('p%s.%s', s, n), 'booking.cancel', (s - 1) * 100 + n - 40) end)
            from generate_series(1, 64) n)) a
       where a.outcome = 'applied');
  end loop;
  return applied;
end
$$;

insert into booking.resource (id, name) select 10000 + n, 'room ' || n from generate_series(1, 200) n;

create function t.long_session() returns setof text language plpgsql volatile
as $$
declare
  tables constant regclass[] := array['booking.booking', 'booking.command', 'booking.resource'];
  tab    regclass;
  before bigint[] := '{}';
  i      int := 0;
begin
  foreach tab in array tables loop
    select array_cat(before, array[s.seq, s.read]) into before from t.scans(tab) s;
  end loop;

  -- 3,840 commands; the first set finds no bookings to confirm, to reschedule or to cancel. Then all the other paths: repeats,
  -- rejections of each kind, a prune.
  return next is(t.fill(60), 60 * 64 - 24, 'a long session');
  return next is(t.fill(60), 60 * 64 - 24, 'all of it again: repeats');
  return next is((select count(*)::int
                    from booking.apply((
                      select jsonb_agg(t.command('rej' || n, (array['booking.confirm', 'booking.cancel', 'booking.complete'])[1 + n % 3], 900000 + n))
                        from generate_series(1, 64) n)) a where a.code = 'unknown_booking'), 64, 'transitions of unknown bookings');
  return next is((select count(*)::int
                    from booking.apply((select jsonb_agg(t.create('ex' || n, 100 + n, 1, 2)) from generate_series(1, 40) n)) a
                   where a.code = 'booking_exists'), 40, 'creates of known bookings');
  return next is((select count(*)::int
                    from booking.apply((select jsonb_agg(t.reschedule('rs' || n, 200 + n, 101, 149)) from generate_series(1, 8) n)) a
                   where a.code = 'slot_taken'), 8, 'reschedules to a slot taken');
  return next is(booking.prune(1, 100), 0, 'a prune');

  -- A busy hour: two hundred resources are booked for it and each booking moves by half an hour. The look for an overlap has
  -- to be one for the resource and the time together; by time alone it would read two hundred slots each time.
  return next is((select count(*)::int
                    from generate_series(0, 3) s,
                         booking.apply((select jsonb_agg(t.create('h' || n, 10000 + n, 9000, 9001, 10000 + n))
                                          from generate_series(s * 50 + 1, s * 50 + 50) n)) a
                   where a.outcome = 'applied'), 200, 'everybody wants the same hour');
  return next is((select count(*)::int
                    from generate_series(0, 3) s,
                         booking.apply((select jsonb_agg(t.reschedule('hr' || n, 10000 + n, 9000.5, 9001.5))
                                          from generate_series(s * 50 + 1, s * 50 + 50) n)) a
                   where a.outcome = 'applied'), 200, 'and then half an hour later');

  -- Over 8,000 commands, some of which read a few slots of dead rows; one plan of the wrong kind reads 70,000 and more.
  foreach tab in array tables loop
    return next is((t.scans(tab)).seq - before[i + 1], 0::bigint, 'no sequential scan of ' || tab);
    return next cmp_ok((t.scans(tab)).read - before[i + 2], '<', 40000::bigint, 'few index entries read of ' || tab);
    i := i + 2;
  end loop;
end
$$;

\echo # empty tables that nobody has analyzed
truncate booking.booking, booking.command;
discard plans;
select t.long_session();

\echo # empty tables that somebody has analyzed
truncate booking.booking, booking.command;
analyze booking.booking, booking.command, booking.resource;
discard plans;
select t.long_session();

\echo # tables of a few rows, one page each
truncate booking.booking, booking.command;
select count(t.apply(t.create('few' || n, 800000 + n, 8000 + n, 8001 + n))) as unused from generate_series(1, 5) n \gset
delete from booking.resource where id > 10000;
analyze booking.booking, booking.command, booking.resource;
insert into booking.resource (id, name) select 10000 + n, 'room ' || n from generate_series(1, 200) n;
discard plans;
select t.long_session();

\echo # tables that are large already
update booking.command set id = 'old ' || id;
update booking.booking set id = md5(id::text)::uuid, status = 'completed';
analyze booking.booking, booking.command, booking.resource;
discard plans;
select t.long_session();

select * from finish();
rollback;
