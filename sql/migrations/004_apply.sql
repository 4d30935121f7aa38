-- 004: booking.apply(), the only way the worker writes
--
-- Purpose  a set of commands in, one outcome row for each out, all in the caller's transaction.
-- Why      one statement a step for the whole set, not one a command: the fixed cost of a statement is a good part of
--          what a booking costs. For the same reason there are no exception blocks (each is a subtransaction).
-- Layout   apply() knows the ledger and no booking; each family of kinds has one function, booking.apply_<family>(), that
--          knows bookings and no ledger. Families and how to add one: sql/README.md.
-- Locks    none by this migration; the functions say what they lock.

-- One command, as apply() has read it. `n` is its place in the input.
create type booking.job as (
  n           int,
  id          text collate "C",
  ticket      text,
  kind        text,
  booking_id  uuid,
  args        jsonb,
  fingerprint bytea,
  enqueued_at timestamptz,
  worker      text,
  traceparent text,
  expired     boolean
);

-- What became of the job at place `n`; version as booking.command has it.
create type booking.answer as (
  n        int,
  outcome  text,
  code     text,
  version  int,
  repeated boolean
);

-- The state machine: the kinds that only move a booking from one status to another. A new one is one row here.
create function booking.transition()
  returns table (kind text, from_status text[], to_status text, refusal text)
  language sql immutable
as $$
  values ('booking.confirm',  array['pending'],              'confirmed', 'not_pending'),
         ('booking.cancel',   array['pending', 'confirmed'], 'cancelled', 'not_active'),
         ('booking.complete', array['confirmed'],            'completed', 'not_confirmed')
$$;

comment on function booking.transition() is 'The kinds that move a booking from one of from_status to to_status, else are rejected with refusal.';

-- booking.confirm, booking.cancel, booking.complete
--
-- Rows   one answer for each job of those kinds, the others are passed over.
-- Locks  the bookings' rows, in the order of their ids.
create function booking.apply_transition(jobs booking.job[])
  returns setof booking.answer
  language plpgsql volatile
as $$
declare
  ids      uuid[];    -- what is wanted, one array a column; a booking's place in ids is its place in all of them
  kinds    text[];
  statuses text[];
  expected bigint[];
  reasons  text[];
  moved    uuid[];
  versions int[];
begin
  select array_agg(j.booking_id), array_agg(j.kind), array_agg(t.to_status),
         array_agg((j.args ->> 'expected_version')::bigint), array_agg(j.args ->> 'reason')
    into ids, kinds, statuses, expected, reasons
    from unnest(jobs) j
    join booking.transition() t on t.kind = j.kind;

  -- The conditions stand in the update itself: it checks them again on the newest row after it has waited for a lock.
  with moved as (
    update booking.booking b
       set status        = statuses[array_position(ids, b.id)],
           version       = b.version + 1,
           cancel_reason = reasons[array_position(ids, b.id)],
           updated_at    = now()
     where b.id = any (ids)
       and exists (select from booking.transition() t
                    where t.kind = kinds[array_position(ids, b.id)] and b.status = any (t.from_status)
                   offset 0)
       and b.version = coalesce(expected[array_position(ids, b.id)], b.version)
    returning b.id, b.version
  )
  select array_agg(m.id), array_agg(m.version) into moved, versions from moved m;

  -- Why the others were not moved. This statement sees later than the update did, so a booking can look fine by now (it
  -- was created or changed in between): then there is no true answer to give, and the batch has to run again.
  return query
    select j.n,
           case when j.booking_id = any (moved) then 'applied' else 'rejected' end,
           case when j.booking_id = any (moved) then null
                when b.id is null then 'unknown_booking'
                when b.status <> all (t.from_status) then t.refusal
                when b.version <> (j.args ->> 'expected_version')::bigint then 'version_conflict'
                else booking.run_again() end,
           coalesce(versions[array_position(moved, j.booking_id)], b.version), false
      from unnest(jobs) j
      join booking.transition() t on t.kind = j.kind
      left join lateral (select o.id, o.status, o.version from booking.booking o
                          where o.id = j.booking_id and (j.booking_id = any (moved)) is not true
                         offset 0) b on true;
end
$$;

-- booking.reschedule
--
-- Rows   one answer for each job of that kind, the others are passed over.
-- Locks  the bookings' rows and their new slots, in the order of the new slots as far as the args tell it.
--
-- One at a time, because two of them can want the same slot, or one the slot that another leaves. The look for an overlap
-- spares the usual case an error; what it cannot see (another session's uncommitted slot) the constraint refuses with
-- 23P01, the batch is rolled back and run again, and then the look sees it.
create function booking.apply_reschedule(jobs booking.job[])
  returns setof booking.answer
  language plpgsql volatile
as $$
declare
  active constant text[] := array['pending', 'confirmed'];
  wanted record;
  answer booking.answer;
begin
  for wanted in
    select j.n, j.booking_id,
           (j.args ->> 'resource_id')::bigint as resource_id,
           (j.args ->> 'expected_version')::bigint as expected_version,
           tstzrange((j.args ->> 'starts_at')::timestamptz, (j.args ->> 'ends_at')::timestamptz) as during
      from unnest(jobs) j
     where j.kind = 'booking.reschedule'
     order by resource_id, during, j.booking_id
  loop
    answer := row(wanted.n, 'applied', null, null, false);

    update booking.booking b
       set resource_id = coalesce(wanted.resource_id, b.resource_id),
           during      = wanted.during,
           version     = b.version + 1,
           updated_at  = now()
     where b.id = wanted.booking_id
       and b.status = any (active)
       and b.version = coalesce(wanted.expected_version, b.version)
       and exists (select from booking.resource r
                    where r.id = coalesce(wanted.resource_id, b.resource_id) and r.active
                   offset 0)
       and not exists (select from booking.booking o
                        where o.resource_id = coalesce(wanted.resource_id, b.resource_id)
                          and o.during && wanted.during
                          and o.status in ('pending', 'confirmed')
                          and o.id <> b.id
                       offset 0)
    returning b.version into answer.version;

    if not found then
      answer.outcome := 'rejected';
      select case when b.id is null then 'unknown_booking'
                  when b.status <> all (active) then 'not_active'
                  when b.version <> wanted.expected_version then 'version_conflict'
                  when not exists (select from booking.resource r
                                    where r.id = coalesce(wanted.resource_id, b.resource_id) and r.active
                                   offset 0)
                    then 'unknown_resource'
                  when exists (select from booking.booking o
                                where o.resource_id = coalesce(wanted.resource_id, b.resource_id)
                                  and o.during && wanted.during
                                  and o.status in ('pending', 'confirmed')
                                  and o.id <> b.id
                               offset 0)
                    then 'slot_taken'
                  else booking.run_again() end,
             b.version
        into answer.code, answer.version
        from (select) as always
        left join booking.booking b on b.id = wanted.booking_id;
    end if;

    return next answer;
  end loop;
end
$$;

-- booking.create
--
-- Rows   one answer for each job of that kind, the others are passed over.
-- Locks  the new slots, in the order of resource and start: two sessions that meet on several slots meet on the first.
create function booking.apply_create(jobs booking.job[])
  returns setof booking.answer
  language plpgsql volatile
as $$
declare
  made     uuid[];
  homeless uuid[];
begin
  -- `on conflict do nothing` waits for a session that holds the slot or the id until its outcome is known. Of two
  -- overlapping creates in one set the first in order goes in.
  with wanted as materialized (
    select j.booking_id,
           (j.args ->> 'resource_id')::bigint as resource_id,
           (j.args ->> 'customer_id')::bigint as customer_id,
           (j.args ->> 'starts_at')::timestamptz as starts_at,
           (j.args ->> 'ends_at')::timestamptz as ends_at,
           j.args ->> 'notes' as notes,
           exists (select from booking.resource r
                    where r.id = (j.args ->> 'resource_id')::bigint and r.active
                   offset 0) as homed
      from unnest(jobs) j
     where j.kind = 'booking.create'
  ), made as (
    insert into booking.booking as b (id, resource_id, customer_id, during, status, version, notes)
    select w.booking_id, w.resource_id, w.customer_id, tstzrange(w.starts_at, w.ends_at), 'pending', 1, w.notes
      from wanted w
     where w.homed
     order by w.resource_id, w.starts_at, w.booking_id
    on conflict do nothing
    returning b.id
  )
  select array(select m.id from made m), array(select w.booking_id from wanted w where not w.homed)
    into made, homeless;

  -- Bookings are never deleted, so one that stood in the way by its id is still there; whatever else kept a row out that
  -- had its resource was a slot. Whether it had is told by the insert's own look, not by a later one.
  return query
    select j.n,
           case when j.booking_id = any (made) then 'applied' else 'rejected' end,
           case when j.booking_id = any (made) then null
                when b.version is not null then 'booking_exists'
                when j.booking_id = any (homeless) then 'unknown_resource'
                else 'slot_taken' end,
           case when j.booking_id = any (made) then 1 else b.version end, false
      from unnest(jobs) j
      left join lateral (select o.version from booking.booking o
                          where o.id = j.booking_id and j.booking_id <> all (made)
                         offset 0) b on true
     where j.kind = 'booking.create';
end
$$;

-- The answer for "what was seen does not add up, because somebody else committed in between": 40001, run again.
create function booking.run_again()
  returns text
  language plpgsql volatile
as $$
begin
  raise exception 'a booking changed while its command was being judged'
    using errcode = 'serialization_failure', hint = 'Run the batch again.';
end
$$;

-- booking.apply(commands)
--
-- commands  a JSON array of {"id", "ticket", "kind", "booking_id", "args": {...}, "enqueued_ms", "worker",
--           "traceparent"?, "expired"?}, checked by the caller. Ids are distinct, and so are booking_ids.
-- Rows      one for each command, in the order of the input. `repeated` tells that the ledger knew the id already.
-- Errors    23505, 23P01, 40001, 40P01, 55P03: somebody else was at the same rows; nothing was done, run it again.
--           22023: not a set of commands (a member missing, an id or a booking_id twice).
--           42883: a kind that this schema does not know, so the worker is newer than the schema.
-- Isolation read committed: each statement below must see what has been committed while the one before it waited.
--
-- Exactly one effect rests on command_pkey alone. Whoever is second with an id either finds the row (step 1) or fails to
-- insert it (step 3) and loses all that it did in this transaction, so it does not matter what a half-dead worker's
-- transaction of the same commands may still be doing: of the two one commits, and the other then finds its row.
--
-- Locks, always in this order: known ledger rows by id (step 1); then bookings and slots, each family in its own order, the
-- families that free slots first (step 2); then new ledger rows by id (step 3). A session in step 3 waits only for others
-- in step 3, and in step 1 only for ids that were known before; so a deadlock can come only from slots that two families
-- take in different orders, and is rare.
--
-- Plans must not depend on what the tables looked like when the session began, because they are made once and kept: an
-- empty or tiny table makes reading all of it look cheap. So there is to be one way only to reach a row, a probe of one index:
-- sequential and bitmap scans are off; a table is looked up by `= any (array)`, or by a subquery that `offset 0` keeps from
-- being turned into a join, whose order and method would be a matter of estimates; and a row that is reached by its id has
-- its status compared with a variable, since with the constants the partial index of booking_no_overlap would do as well,
-- read from end to end.
create function booking.apply(commands jsonb)
  returns table (id text, outcome text, code text, booking_id uuid, version int, repeated boolean)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_bitmapscan = off
  set jit = off
as $$
#variable_conflict use_column
declare
  jobs     booking.job[];      -- all, in the order of the input
  fresh    booking.job[];      -- those the ledger does not know and that have not expired
  ids      text[];
  kinds    text[];
  known    booking.answer[];   -- what the ledger said
  answers  booking.answer[];   -- what this transaction decided
  outcomes text[];             -- outcomes, codes and versions of all, by place
  codes    text[];
  versions int[];
  complete          boolean;
  some_expired      boolean;
  distinct_ids      int;
  distinct_bookings int;
begin
  select array_agg(row(c.n, c.id, c.ticket, c.kind, c.booking_id, c.args,
                       sha256(convert_to(c.kind || ' ' || c.args::text, 'UTF8')),
                       to_timestamp(least(greatest(c.enqueued_ms, 0), 253402300799999) / 1000),
                       c.worker, c.traceparent, c.expired)::booking.job),
         array_agg(c.id), array_agg(distinct c.kind), bool_or(c.expired),
         count(distinct c.id), count(distinct c.booking_id),
         bool_and((c.ticket, c.kind, c.enqueued_ms, c.worker) is not null and jsonb_typeof(c.args) = 'object')
    into jobs, ids, kinds, some_expired, distinct_ids, distinct_bookings, complete
    from rows from (jsonb_to_recordset(commands)
                    as (id text collate "C", ticket text, kind text, booking_id uuid, args jsonb,
                        enqueued_ms double precision, worker text, traceparent text, expired boolean))
         with ordinality
         as c (id, ticket, kind, booking_id, args, enqueued_ms, worker, traceparent, expired, n);

  if jobs is null then
    return;
  end if;
  if complete is not true or distinct_ids < cardinality(jobs) or distinct_bookings < cardinality(jobs) then
    raise exception 'apply: a command lacks a member, or two of the set have one id or one booking_id'
      using errcode = 'invalid_parameter_value';
  end if;

  -- 1. What the ledger knows. Even a repeat writes: only a transaction with WAL of its own waits for a synchronous standby,
  -- and an outcome must not be told before the row it is read from is safe there. Another command's id is counted too.
  with seen as (
    update booking.command l
       set deliveries = l.deliveries + 1
     where l.id = any (ids)
    returning l.id, l.fingerprint, l.outcome, l.code, l.version
  )
  select array_agg(case when j.fingerprint = s.fingerprint
                        then row(j.n, s.outcome, s.code, s.version, true)::booking.answer
                        else row(j.n, 'dead', 'id_reused', null, true)::booking.answer end)
    into known
    from seen s
    join unnest(jobs) j on j.id = s.id;

  if known is null then
    fresh := jobs;
  else
    fresh := array(select j from unnest(jobs) j
                    where j.n <> all (array(select k.n from unnest(known) k)));
  end if;

  -- 2. The effects of the rest. An expired command has none, and its ledger row sees to it that it never will, not even by
  -- the hand of an older transaction that is still in flight.
  if some_expired then
    answers := array(select row(j.n, 'dead', 'expired', null, false)::booking.answer
                       from unnest(fresh) j where j.expired);
    fresh := array(select j from unnest(fresh) j where j.expired is not true);
  end if;

  if kinds && array(select t.kind from booking.transition() t) then
    answers := answers || array(select a::booking.answer from booking.apply_transition(fresh) a);
  end if;
  if 'booking.reschedule' = any (kinds) then
    answers := answers || array(select a::booking.answer from booking.apply_reschedule(fresh) a);
  end if;
  if 'booking.create' = any (kinds) then
    answers := answers || array(select a::booking.answer from booking.apply_create(fresh) a);
  end if;

  -- 3. The ledger, one insert for all and no `on conflict`: a row that came since step 1 must undo this transaction.
  select array_agg(a.outcome order by a.n), array_agg(a.code order by a.n), array_agg(a.version order by a.n)
    into outcomes, codes, versions
    from unnest(known || answers) a;

  if cardinality(outcomes) is distinct from cardinality(jobs) then
    raise exception 'no function of this schema applies some of the kinds %', kinds
      using errcode = 'undefined_function', hint = 'The schema is older than the worker: run bookingctl migrate.';
  end if;

  insert into booking.command
    (id, ticket, kind, booking_id, fingerprint, outcome, code, version, enqueued_at, worker, traceparent)
  select j.id, j.ticket, j.kind, j.booking_id, j.fingerprint,
         outcomes[j.n], codes[j.n], versions[j.n], j.enqueued_at, j.worker, j.traceparent
    from unnest(jobs) j
   where j.n <> all (array(select k.n from unnest(known) k))
   order by j.id;

  return query
    select j.id::text, outcomes[j.n], codes[j.n], j.booking_id, versions[j.n],
           j.n = any (array(select k.n from unnest(known) k))
      from unnest(jobs) j;
end
$$;

comment on function booking.apply(jsonb) is 'Applies a set of commands, each at most once; one outcome row for each, in order.';

grant execute on function booking.apply(jsonb) to booking_worker;
