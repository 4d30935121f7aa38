-- 001: booking.resource, what can be booked
--
-- Why    its rows belong to the web tier; the worker only reads them. An inactive resource counts as unknown, so that one
--        can be taken out of service without touching its bookings.
-- Locks  none, the table is new.

create table booking.resource (
  id     bigint  not null,
  name   text    not null,
  active boolean not null default true,
  constraint resource_pkey primary key (id)
);

comment on table booking.resource is 'What can be booked. Owned by the web tier, only read by the worker.';
comment on column booking.resource.active is 'An inactive resource counts as unknown: it takes no new time slots.';

grant select on booking.resource to booking_worker, booking_reader;
