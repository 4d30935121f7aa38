-- bootstrap: what must stand before the first migration
--
-- Purpose  the three roles, the btree_gist extension, the schema and the list of applied migrations. These are the
--          steps that need more than booking_owner has; when they are done the script becomes booking_owner, so that
--          every object a migration makes is owned by it and no migration has to say so.
-- Runs     in one transaction with the pending migrations, before them, whenever there are any: all of it is idempotent. Outside a
--          transaction `set local role` has no effect; from psql use --single-transaction (-1).
-- Needs    a superuser; or a login with CREATE on the database that is a member of booking_owner (or may create roles).
-- Locks    none that a running worker waits for.

-- Roles belong to the whole cluster, so another database's migrator can create them between our look and our create:
-- that is a duplicate_object, or a unique_violation on the catalog when both are in flight, and both mean "it exists".
do $$
declare
  wanted text;
begin
  foreach wanted in array array['booking_owner', 'booking_worker', 'booking_reader'] loop
    continue when exists (select from pg_catalog.pg_roles where rolname = wanted);
    begin
      execute pg_catalog.format('create role %I nologin', wanted);
    exception
      when duplicate_object or unique_violation then
        null;
      when insufficient_privilege then
        raise exception 'role "%" does not exist and "%" may not create roles', wanted, current_user
          using errcode = 'insufficient_privilege',
                hint = pg_catalog.format('As a superuser, once per cluster: create role booking_owner nologin; '
                       'create role booking_worker nologin; create role booking_reader nologin; '
                       'grant booking_owner to %I;', current_user);
    end;
  end loop;
end
$$;

-- From PostgreSQL 16 on, membership alone does not let a login become the role: it must hold the SET option, which the
-- creator of a role does not get by itself but may give itself.
do $$
declare
  enough constant text := case when pg_catalog.current_setting('server_version_num')::int >= 160000
                               then 'SET' else 'MEMBER' end;
begin
  if not pg_catalog.pg_has_role(current_user, 'booking_owner', enough) then
    begin
      execute pg_catalog.format('grant booking_owner to %I', current_user);
    exception
      when duplicate_object or unique_violation then
        null;
      when insufficient_privilege then
        raise exception '"%" may not act as booking_owner', current_user
          using errcode = 'insufficient_privilege',
                hint = pg_catalog.format('As a superuser: grant booking_owner to %I;', current_user);
    end;
  end if;
end
$$;

-- The schema is looked for before it is created, because `create schema if not exists` wants CREATE on the database even
-- when there is nothing to do, and a login that only runs later migrations need not have it.
do $$
begin
  if pg_catalog.to_regnamespace('booking') is null then
    create schema booking authorization booking_owner;
  elsif not pg_catalog.has_schema_privilege('booking_owner', 'booking', 'CREATE, USAGE') then
    raise exception 'schema "booking" exists and booking_owner may not create in it'
      using errcode = 'insufficient_privilege',
            hint = 'As the owner of the schema: alter schema booking owner to booking_owner;';
  end if;
end
$$;

-- The exclusion constraint compares a bigint inside a GiST index. The extension may stand in any schema, since operator
-- classes are found by type; public is where other applications of this database will look for it too.
do $$
begin
  if not exists (select from pg_catalog.pg_extension where extname = 'btree_gist') then
    execute pg_catalog.format('create extension if not exists btree_gist with schema %I',
                              case when pg_catalog.to_regnamespace('public') is null then 'booking' else 'public' end);
  end if;
end
$$;

set local role booking_owner;

-- PostgreSQL lets everybody execute a new function. Here a function is closed until a migration opens it.
alter default privileges for role booking_owner revoke execute on functions from public;

do $$
begin
  if pg_catalog.to_regclass('booking.schema_migration') is null then
    create table booking.schema_migration (
      version    int         not null,
      name       text        not null,
      applied_at timestamptz not null default now(),
      constraint schema_migration_pkey primary key (version)
    );
    comment on table booking.schema_migration is 'What `bookingctl migrate` has applied, one row a migration.';
    grant usage on schema booking to booking_worker, booking_reader;
    grant select on booking.schema_migration to booking_worker, booking_reader;
  end if;
end
$$;
