-- Commands that meet inside one call, and what apply() does not take for a set of commands.

begin;
\ir helpers.psql
select no_plan();

select is((select count(*)::int from booking.apply('[]')), 0, 'no commands, no rows');

select is(t.apply(t.create('b', 2, 11, 12), t.create('a', 1, 10, 11), t.command('c', 'booking.cancel', 99)),
          'b applied v1, a applied v1, c rejected/unknown_booking', 'the rows come in the order of the commands');

select is(t.apply(t.create('a1', 11, 14, 15), t.create('a2', 12, 14.5, 15.5)),
          'a1 applied v1, a2 rejected/slot_taken', 'two overlapping creates: the earlier start gets the slot');
select is(t.apply(t.create('a3', 13, 16.5, 17.5), t.create('a4', 14, 16, 17)),
          'a3 rejected/slot_taken, a4 applied v1', 'two overlapping creates: whatever their order in the set');
select is((select count(*)::int from booking.booking where id in (t.uuid(11), t.uuid(12), t.uuid(13), t.uuid(14))), 2,
          'one row for each pair');

select is(t.apply(t.command('b1', 'booking.cancel', 11), t.create('b2', 15, 14, 15)),
          'b1 applied v2, b2 applied v1', 'a cancel makes room for a create of the same set');
select is(t.apply(t.create('b3', 16, 14, 15), t.command('b4', 'booking.cancel', 15)),
          'b3 applied v1, b4 applied v2', 'whatever their order in the set');
select is(t.apply(t.reschedule('b5', 16, 20, 21), t.create('b6', 17, 14, 15)),
          'b5 applied v2, b6 applied v1', 'a reschedule makes room for a create of the same set');

select t.apply(t.create('s1', 21, 1, 2), t.create('s2', 22, 2, 3), t.create('s3', 23, 3, 4)) as unused \gset
select is(t.apply(t.reschedule('m1', 21, 5, 6), t.reschedule('m2', 22, 5.5, 6.5)),
          'm1 applied v2, m2 rejected/slot_taken v1', 'two reschedules to one slot: one gets it');
select is(t.apply(t.reschedule('m3', 21, 3, 4), t.reschedule('m4', 23, 5, 6)),
          'm3 rejected/slot_taken v2, m4 rejected/slot_taken v1', 'two that want to swap both stay');
select is(t.apply(t.reschedule('m5', 23, 2, 3), t.reschedule('m6', 22, 1, 2)),
          'm5 applied v2, m6 applied v2', 'one may take the slot that another of the set leaves before it');
select is(t.apply(t.command('m7', 'booking.cancel', 21), t.reschedule('m8', 22, 5, 6)),
          'm7 applied v3, m8 applied v3', 'a cancel makes room for a reschedule of the same set');

select is(t.apply(t.create('n1', 31, 30, 31), t.command('n2', 'booking.confirm', 17), t.command('n3', 'booking.complete', 23),
                  t.reschedule('n4', 22, 32, 33), t.command('n5', 'booking.cancel', 16), t.create('s1', 21, 1, 2)),
          'n1 applied v1, n2 applied v2, n3 rejected/not_confirmed v2, n4 applied v4, n5 applied v3, s1 applied v1 repeated',
          'one of each, and a repeat');

select is((select string_agg(a.id || ' ' || a.outcome, ', ')
             from booking.apply((select jsonb_agg(t.create('bulk' || n, 1000 + n, n, n + 1, 9002)) from generate_series(1, 200) n)) a
            where a.outcome <> 'applied'), null, 'two hundred at once');

-- Not a set of commands: nothing is done, and the error is one that a split of the batch isolates.
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41), t.create('q1', 42, 41, 42))$$, '22023', null, 'one id twice');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41), t.create('q2', 41, 41, 42))$$, '22023', null, 'one booking_id twice');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41) - 'id')$$, '22023', null, 'no id');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41) - 'booking_id')$$, '22023', null, 'no booking_id');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41) - 'kind')$$, '22023', null, 'no kind');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41) - 'args')$$, '22023', null, 'no args');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41) || '{"args": [1]}')$$, '22023', null, 'args that is no object');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41) - 'worker')$$, '22023', null, 'no worker');
select throws_ok($$select * from booking.apply('{}')$$, '22023', null, 'not an array');
select throws_ok($$select * from booking.apply('[1]')$$, '22023', null, 'not an array of objects');
select throws_ok($$select t.apply(t.create('q1', 41, 40, 41), t.command('q2', 'booking.split', 42))$$, '42883', null,
                 'a kind the schema does not know is the operator''s, not the job''s');
select is((select count(*)::int from booking.command where id like 'q%'), 0, 'none of them left a trace');

select is(t.apply(t.create('big', 51, 50, 51) || '{"enqueued_ms": 18446744073709551615}'), 'big applied v1',
          'a time of enqueuing beyond all calendars costs nobody a booking');

select * from finish();
rollback;
