-- Every command, every rejection, and which rejection comes first.

begin;
\ir helpers.psql
select no_plan();

-- create
select is(t.apply(t.create('c1', 1, 10, 11)), 'c1 applied v1', 'create');
select results_eq(
  $$select resource_id, customer_id, during, status, version, notes from booking.booking where id = t.uuid(1)$$,
  $$values (9001::bigint, 7::bigint, tstzrange('2030-03-09 10:00Z', '2030-03-09 11:00Z'), 'pending', 1, null::text)$$,
  'create: the row');
select is(t.apply(t.create('c2', 2, 10.5, 11.5)), 'c2 rejected/slot_taken', 'create: slot_taken has no version');
select is(t.apply(t.create('c3', 2, 10, 11, 9009)), 'c3 rejected/unknown_resource', 'create: unknown_resource');
select is(t.apply(t.create('c4', 2, 12, 13, 9003)), 'c4 rejected/unknown_resource', 'create: an inactive resource is unknown');
select is(t.apply(t.create('c5', 1, 20, 21)), 'c5 rejected/booking_exists v1', 'create: booking_exists tells the version');
select is(t.apply(t.create('c6', 1, 10, 11)), 'c6 rejected/booking_exists v1', 'create: booking_exists before slot_taken');
select is(t.apply(t.create('c7', 1, 10, 11, 9009)), 'c7 rejected/booking_exists v1', 'create: booking_exists before unknown_resource');
select is(t.apply(t.create('c8', 3, 11, 12)), 'c8 applied v1', 'create: touching the end of another slot');
select is(t.apply(t.create('c9', 4, 9, 10)), 'c9 applied v1', 'create: touching the start of another slot');
select is(t.apply(t.create('c10', 5, 10, 11, 9002)), 'c10 applied v1', 'create: the same time on another resource');
select is(t.apply(t.create('c11', 6, 13, 14) || jsonb_build_object('args', t.create('c11', 6, 13, 14) -> 'args'
                                                                          || '{"notes": "by the window \u2603"}')),
          'c11 applied v1', 'create with notes');
select is((select notes from booking.booking where id = t.uuid(6)), 'by the window ☃', 'create: the notes are kept');
select is((select count(*)::int from booking.booking where id = t.uuid(2)), 0, 'a rejected create leaves no row');

-- confirm
select is(t.apply(t.command('f1', 'booking.confirm', 99)), 'f1 rejected/unknown_booking', 'confirm: unknown_booking');
select is(t.apply(t.command('f2', 'booking.confirm', 1, '{"expected_version": 2}')), 'f2 rejected/version_conflict v1',
          'confirm: version_conflict tells the version');
select is(t.apply(t.command('f3', 'booking.confirm', 1, '{"expected_version": 1}')), 'f3 applied v2', 'confirm');
select is((select status from booking.booking where id = t.uuid(1)), 'confirmed', 'confirm: the row');
select is(t.apply(t.command('f4', 'booking.confirm', 1)), 'f4 rejected/not_pending v2', 'confirm: not_pending');
select is(t.apply(t.command('f5', 'booking.confirm', 1, '{"expected_version": 77}')), 'f5 rejected/not_pending v2',
          'confirm: not_pending before version_conflict');
select is(t.apply(t.command('f6', 'booking.confirm', 3, '{"expected_version": 9007199254740991}')),
          'f6 rejected/version_conflict v1', 'confirm: the largest expected_version is only a wrong one');

-- reschedule
select is(t.apply(t.reschedule('r1', 99, 10, 11)), 'r1 rejected/unknown_booking', 'reschedule: unknown_booking');
select is(t.apply(t.reschedule('r2', 1, 10, 10.5)), 'r2 applied v3', 'reschedule within its own old slot');
select is(t.apply(t.reschedule('r3', 1, 10.25, 10.75)), 'r3 applied v4', 'reschedule over a part of its own old slot');
select is((select during from booking.booking where id = t.uuid(1)), tstzrange('2030-03-09 10:15Z', '2030-03-09 10:45Z'),
          'reschedule: the row');
select is((select status from booking.booking where id = t.uuid(1)), 'confirmed', 'reschedule keeps the status');
select is(t.apply(t.reschedule('r4', 1, 10.5, 11.5)), 'r4 rejected/slot_taken v4', 'reschedule: slot_taken');
select is(t.apply(t.reschedule('r5', 1, 10, 11)), 'r5 applied v5', 'reschedule: both neighbours only touch');
select is(t.apply(t.reschedule('r6', 1, 10, 11, '{"resource_id": 9002}')), 'r6 rejected/slot_taken v5',
          'reschedule: slot_taken on another resource');
select is(t.apply(t.reschedule('r7', 1, 12, 13, '{"resource_id": 9002}')), 'r7 applied v6', 'reschedule to another resource');
select is((select resource_id from booking.booking where id = t.uuid(1)), 9002::bigint, 'reschedule: the resource of the row');
select is(t.apply(t.reschedule('r8', 1, 12, 13, '{"resource_id": 9009}')), 'r8 rejected/unknown_resource v6',
          'reschedule: unknown_resource');
select is(t.apply(t.reschedule('r9', 1, 12, 13, '{"resource_id": 9003}')), 'r9 rejected/unknown_resource v6',
          'reschedule: an inactive resource is unknown');
select is(t.apply(t.reschedule('r10', 1, 10, 11, '{"resource_id": 9009, "expected_version": 5}')),
          'r10 rejected/version_conflict v6', 'reschedule: version_conflict before unknown_resource');
select is(t.apply(t.reschedule('r11', 1, 10, 11, '{"expected_version": 5}')), 'r11 rejected/version_conflict v6',
          'reschedule: version_conflict before slot_taken');
select is(t.apply(t.reschedule('r12', 1, 14, 15, '{"expected_version": 6}')), 'r12 applied v7', 'reschedule of the expected version');
select is(t.apply(t.create('r13', 7, 10, 11)), 'r13 applied v1', 'the slot that was left is free');
update booking.resource set active = false where id = 9002;
select is(t.apply(t.reschedule('r14', 1, 16, 17)), 'r14 rejected/unknown_resource v7',
          'reschedule: its own resource counts as unknown once inactive');
update booking.resource set active = true where id = 9002;

-- complete
select is(t.apply(t.command('d1', 'booking.complete', 99)), 'd1 rejected/unknown_booking', 'complete: unknown_booking');
select is(t.apply(t.command('d2', 'booking.complete', 3)), 'd2 rejected/not_confirmed v1', 'complete: not_confirmed');
select is(t.apply(t.command('d3', 'booking.complete', 3, '{"expected_version": 9}')), 'd3 rejected/not_confirmed v1',
          'complete: not_confirmed before version_conflict');
select is(t.apply(t.command('d4', 'booking.complete', 1, '{"expected_version": 1}')), 'd4 rejected/version_conflict v7',
          'complete: version_conflict');
select is(t.apply(t.command('d5', 'booking.complete', 1)), 'd5 applied v8', 'complete');
select is((select status from booking.booking where id = t.uuid(1)), 'completed', 'complete: the row');
select is(t.apply(t.reschedule('d6', 1, 10, 11, '{"expected_version": 1}')), 'd6 rejected/not_active v8',
          'reschedule: not_active before version_conflict');
select is(t.apply(t.create('d7', 8, 14, 15, 9002)), 'd7 applied v1', 'a completed booking no longer holds its slot');

-- cancel
select is(t.apply(t.command('x1', 'booking.cancel', 99)), 'x1 rejected/unknown_booking', 'cancel: unknown_booking');
select is(t.apply(t.command('x2', 'booking.cancel', 1)), 'x2 rejected/not_active v8', 'cancel: a completed booking is not_active');
select is(t.apply(t.command('x3', 'booking.cancel', 7, '{"expected_version": 4}')), 'x3 rejected/version_conflict v1',
          'cancel: version_conflict');
select is(t.apply(t.command('x4', 'booking.cancel', 7, '{"reason": "rain"}')), 'x4 applied v2', 'cancel of a pending booking');
select results_eq($$select status, cancel_reason from booking.booking where id = t.uuid(7)$$, $$values ('cancelled', 'rain')$$,
                  'cancel: the row');
select is(t.apply(t.command('x5', 'booking.cancel', 7, '{"expected_version": 9}')), 'x5 rejected/not_active v2',
          'cancel: not_active before version_conflict');
select is(t.apply(t.create('x6', 9, 10, 11)), 'x6 applied v1', 'a cancelled booking frees its slot');
select is(t.apply(t.command('x7', 'booking.confirm', 9)), 'x7 applied v2', 'confirm before cancel');
select is(t.apply(t.command('x8', 'booking.cancel', 9)), 'x8 applied v3', 'cancel of a confirmed booking, without a reason');
select is((select cancel_reason from booking.booking where id = t.uuid(9)), null, 'cancel without a reason has none');
select is(t.apply(t.command('x9', 'booking.confirm', 9)), 'x9 rejected/not_pending v3', 'confirm of a cancelled booking');

-- The ledger tells the same story.
select results_eq(
  $$select version from booking.command where booking_id = t.uuid(1) and outcome = 'applied' order by version$$,
  $$select generate_series(1, 8)$$, 'the versions of a booking in the ledger are dense');
select results_eq(
  $$select ticket, kind, booking_id, outcome, code, version, deliveries, enqueued_at, worker, traceparent
      from booking.command where id = 'c5'$$,
  $$values ('1700000000000-0', 'booking.create', t.uuid(1), 'rejected', 'booking_exists', 1, 1,
            timestamptz '2023-11-14 22:13:20.123Z', 'test-1', null::text)$$,
  'the ledger row of a rejected command');
select is(t.apply(t.command('z1', 'booking.cancel', 99, '{}', '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}')),
          'z1 rejected/unknown_booking', 'a command with a traceparent');
select is((select traceparent from booking.command where id = 'z1'), '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
          'the ledger keeps it');

-- updated_at moves with each effect and with nothing else; created_at never does.
update booking.booking set updated_at = '2020-01-01Z', created_at = '2020-01-01Z' where id in (t.uuid(3), t.uuid(4), t.uuid(5));
select t.apply(t.command('u1', 'booking.confirm', 3), t.reschedule('u2', 4, 6, 7), t.command('u3', 'booking.complete', 5)) as unused \gset
select results_eq(
  $$select updated_at = now(), created_at = '2020-01-01Z' from booking.booking where id in (t.uuid(3), t.uuid(4), t.uuid(5)) order by id$$,
  $$values (true, true), (true, true), (false, true)$$, 'updated_at is the time of the last effect');

select * from finish();
rollback;
