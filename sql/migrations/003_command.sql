-- 003: booking.command, the ledger
--
-- Why    one row per idempotency key, written in the transaction of its effect: the primary key is what makes an effect
--        happen once, however often and by however many workers a command is delivered. Read by booking_id it is also
--        the booking's history.
--        Ids are plain ASCII, and collate "C" compares them as bytes, which a linguistic collation would make several
--        times dearer.
-- Locks  none, the table is new.

create table booking.command (
  id          text        collate "C" not null,
  ticket      text        not null,
  kind        text        not null,
  booking_id  uuid        not null,
  fingerprint bytea       not null,
  outcome     text        not null,
  code        text,
  version     int,
  deliveries  int         not null default 1,
  enqueued_at timestamptz not null,
  applied_at  timestamptz not null default now(),
  worker      text        not null,
  traceparent text,
  constraint command_pkey primary key (id),
  constraint command_fingerprint_is_sha256 check (octet_length(fingerprint) = 32),
  constraint command_outcome_known check (outcome in ('applied', 'rejected', 'dead')),
  constraint command_code_unless_applied check ((outcome = 'applied') = (code is null)),
  constraint command_version_if_applied check (outcome <> 'applied' or version is not null)
);

create index command_booking_id_idx on booking.command (booking_id);

comment on table booking.command is 'The ledger: one row per command id, written in the transaction of its effect.';
comment on column booking.command.ticket is 'The delivery that decided the outcome (the id of its stream entry).';
comment on column booking.command.fingerprint is 'sha256 of kind and args, as JSON values: tells a repeat from a reused id.';
comment on column booking.command.version is 'The booking''s version after an applied command, or when it was rejected; null if there was no booking.';
comment on column booking.command.deliveries is 'How often a command with this id has reached apply().';
comment on column booking.command.applied_at is 'When the transaction that decided the outcome began.';

grant select on booking.command to booking_worker, booking_reader;
