-- The ledger: repeats, reused ids, the fence of an expired command, pruning.

begin;
\ir helpers.psql
select no_plan();

-- A repeat has the first one's outcome and no effect.
select is(t.apply(t.create('c1', 1, 10, 11)), 'c1 applied v1', 'the first time');
select is(t.apply(t.create('c1', 1, 10, 11)), 'c1 applied v1 repeated', 'the second time');
select is(t.apply(t.command('f1', 'booking.confirm', 1)), 'f1 applied v2', 'the booking moves on');
select is(t.apply(t.create('c1', 1, 10, 11)), 'c1 applied v1 repeated', 'the third time tells the outcome of then');
select is((select deliveries from booking.command where id = 'c1'), 3, 'deliveries are counted');
select is((select version from booking.booking where id = t.uuid(1)), 2, 'a repeat has no effect');
select is(t.apply(t.create('c2', 2, 10, 11)), 'c2 rejected/slot_taken', 'a rejection');
select is(t.apply(t.command('x1', 'booking.cancel', 1)), 'x1 applied v3', 'its reason goes away');
select is(t.apply(t.create('c2', 2, 10, 11)), 'c2 rejected/slot_taken repeated', 'the rejection stays');
select is((select count(*)::int from booking.booking where id = t.uuid(2)), 0, 'and has no effect later');
select is(t.apply(t.create('c1', 1, 10, 11) || '{"ticket": "9-9", "worker": "other-2", "enqueued_ms": 5}'),
          'c1 applied v1 repeated', 'another ticket of the same command is a repeat');
select is((select ticket || ' ' || worker from booking.command where id = 'c1'), '1700000000000-0 test-1',
          'the ledger keeps the delivery that decided');
select is(t.apply(t.create('c1', 1, 10, 11), t.create('c3', 3, 12, 13), t.create('c2', 2, 10, 11)),
          'c1 applied v1 repeated, c3 applied v1, c2 rejected/slot_taken repeated', 'repeats and a new one in one set');

-- Args are compared as JSON values.
select is((select outcome || ' ' || repeated from booking.apply(
             '[{"worker": "w", "kind": "booking.cancel",   "ticket":"1-1","id":"j1", "enqueued_ms": 1,
                "args": {"reason": "caf\u00e9", "booking_id": "00000000-0000-4000-8000-000000000003", "expected_version": 1},
                "booking_id":"00000000-0000-4000-8000-000000000003"}]')), 'applied false', 'args in one form');
select is((select outcome || ' ' || repeated from booking.apply(
             '[{"id":"j1","ticket":"1-1","kind":"booking.cancel","booking_id":"00000000-0000-4000-8000-000000000003",
                "args":{"booking_id":"00000000-0000-4000-8000-000000000003","expected_version":1,"reason":"café"},
                "enqueued_ms":1,"worker":"w"}]')), 'applied true', 'in another order, spacing and escaping: a repeat');

-- The same id with other contents never has an effect.
select is(t.apply(t.create('c1', 1, 10, 12)), 'c1 dead/id_reused repeated', 'another value');
select is(t.apply(t.command('c1', 'booking.confirm', 1)), 'c1 dead/id_reused repeated', 'another kind');
select is(t.apply(t.create('c1', 8, 18, 19)), 'c1 dead/id_reused repeated', 'another booking');
select is(t.apply(t.create('c1', 1, 10, 11) || jsonb_build_object('args', t.create('c1', 1, 10, 11) -> 'args' || '{"notes": ""}')),
          'c1 dead/id_reused repeated', 'another member');
select is((select count(*)::int from booking.booking where id = t.uuid(8)), 0, 'a reused id has no effect');
select results_eq($$select outcome, code, version, deliveries from booking.command where id = 'c1'$$,
                  $$values ('applied', null::text, 1, 9)$$, 'the row of the first use stays, its deliveries count on');
select is(t.apply(t.create('C1', 9, 20, 21)), 'C1 applied v1', 'ids differ by case');

-- An expired command is fenced off for good.
select is(t.apply(t.create('e1', 21, 1, 2) || '{"expired": true}'), 'e1 dead/expired', 'expired');
select is((select outcome || '/' || code from booking.command where id = 'e1'), 'dead/expired', 'the ledger has it');
select is(t.apply(t.create('e1', 21, 1, 2)), 'e1 dead/expired repeated', 'whoever comes later with it finds the fence');
select is(t.apply(t.create('e1', 21, 1, 2) || '{"expired": true}'), 'e1 dead/expired repeated', 'expired twice');
select is(t.apply(t.create('e1', 21, 1, 3)), 'e1 dead/id_reused repeated', 'expired, and its id reused');
select is(t.apply(t.create('c1', 1, 10, 11) || '{"expired": true}'), 'c1 applied v1 repeated',
          'expired after it was applied: the stored outcome');
select is(t.apply(t.create('e2', 22, 1, 2), t.create('e3', 23, 1, 2) || '{"expired": true}', t.create('e4', 24, 3, 4) || '{"expired": false}'),
          'e2 applied v1, e3 dead/expired, e4 applied v1', 'expired among others');
select is((select count(*)::int from booking.booking where id in (t.uuid(21), t.uuid(23))), 0, 'none had an effect');
select is(t.apply(t.command('e5', 'booking.split', 25, '{}', '{"expired": true}')), 'e5 dead/expired',
          'an expired command needs no function of its kind');

-- Pruning
select is(booking.prune(0, 100), 0, 'a retention of 0 keeps everything');
select is(booking.prune(1, 100), 0, 'nothing is old enough');
update booking.command set applied_at = now() - interval '10 days' where id in ('c1', 'c2', 'c3');
update booking.command set applied_at = now() - interval '20 days' where id = 'x1';
select is(booking.prune(30, 100), 0, 'nothing is older than thirty days');
select is(booking.prune(5, 0), 0, 'at most none');
select is(booking.prune(5, 1), 1, 'at most one');
select is((select count(*)::int from booking.command where id = 'x1'), 0, 'the oldest goes first');
select is(booking.prune(5, 100), 3, 'the rest of the old ones');
select is((select count(*)::int from booking.command where id in ('c1', 'c2', 'c3')), 0, 'they are gone');
select ok((select count(*) > 5 from booking.command), 'the young ones are not');
select throws_ok('select booking.prune(-1, 1)', '22023', null, 'no negative retention');
select throws_ok('select booking.prune(1, -1)', '22023', null, 'no negative number');
select throws_ok('select booking.prune(null, 1)', '22023', null, 'no unknown retention');
select is(t.apply(t.create('c3', 3, 12, 13)), 'c3 rejected/booking_exists v2', 'what pruning costs: a pruned id is judged anew');

select * from finish();
rollback;
