-- 002: booking.booking, the truth
--
-- Why    a constraint, not code, forbids two active bookings of a resource from overlapping. An exclusion constraint sees
--        only rows whose values can conflict, so the checks beside it shut out what it is blind to: a null compares as
--        unknown, an empty range overlaps nothing, an unbounded one is no booking, and `(]` bounds would make touching
--        slots overlap or leave an instant free between them.
--        There is no foreign key to resource: it would lock the resource's row for each booking, which makes the rows of
--        busy resources a place where all lanes meet. The worker looks the resource up instead, and the web tier retires
--        a resource with active = false rather than by deleting it.
-- Locks  none, the table is new.

create table booking.booking (
  id            uuid        not null,
  resource_id   bigint      not null,
  customer_id   bigint      not null,
  during        tstzrange   not null,
  status        text        not null,
  version       int         not null,
  notes         text,
  cancel_reason text,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  constraint booking_pkey primary key (id),
  constraint booking_no_overlap
    exclude using gist (resource_id with =, during with &&) where (status in ('pending', 'confirmed')),
  constraint booking_during_is_a_slot check (
    during <@ tstzrange '[2000-01-01 00:00:00+00, 2200-01-01 00:00:00+00)' and lower_inc(during) and not upper_inc(during)),
  constraint booking_status_known check (status in ('pending', 'confirmed', 'completed', 'cancelled')),
  constraint booking_version_positive check (version >= 1),
  constraint booking_notes_short check (char_length(notes) <= 2000),
  constraint booking_cancel_reason_short check (char_length(cancel_reason) <= 500),
  constraint booking_cancel_reason_of_cancelled check (cancel_reason is null or status = 'cancelled')
);

comment on table booking.booking is 'Bookings. Written by booking.apply() only.';
comment on column booking.booking.during is 'Half-open: [starts_at, ends_at), within the years 2000 to 2199 UTC.';
comment on column booking.booking.version is 'Raised by one by each applied command, from 1.';
comment on column booking.booking.cancel_reason is 'The reason that came with booking.cancel, if one did.';

grant select on booking.booking to booking_worker, booking_reader;
