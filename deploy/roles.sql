-- roles.sql: who may log in to the bookings' database, and what each may do there
--
-- Run     as a superuser, in the database of the bookings; to be run again whenever you like. The web tier's right to
--         the resources needs their table, so run it before the first `bookingctl migrate` and once more after it:
--           psql -X -v ON_ERROR_STOP=1 -d booking -f deploy/roles.sql
-- Logins  app_migrator  migrates: a member of booking_owner (deployments only)
--         app_worker    the workers: a member of booking_worker. It may call booking.apply and booking.prune and read
--         app_web       the web tier: reads everything, writes the rows of booking.resource, which are its own
--         app_reader    reports, monitoring, people: reads
-- Passwords are taken from the environment (APP_MIGRATOR_PASSWORD, APP_WORKER_PASSWORD, APP_WEB_PASSWORD,
--         APP_READER_PASSWORD) where they are set there; a login without one gets in by certificate or peer only, or
--         after `\password app_worker` in psql. pg_hba.conf wants a line like
--           hostssl booking app_migrator,app_worker,app_web,app_reader 10.1.2.0/24 scram-sha-256

\set ON_ERROR_STOP on
\set QUIET on
begin;
set local log_statement = 'none';           -- a password is not for the log
set local log_min_duration_statement = -1;
set local client_min_messages = warning;

-- The group roles are bookingctl migrate's own, but a migrator that may not create roles needs to find them.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['booking_owner', 'booking_worker', 'booking_reader'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      execute pg_catalog.format('create role %I nologin', wanted);
    end if;
  end loop;
  foreach wanted in array array['app_migrator', 'app_worker', 'app_web', 'app_reader'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      execute pg_catalog.format('create role %I', wanted);
    end if;
    execute pg_catalog.format('alter role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls', wanted);
  end loop;
end
$$;

grant booking_owner  to app_migrator;
grant booking_worker to app_worker;
grant booking_reader to app_web, app_reader;

-- Nobody else comes in; the migrator creates the schema and the trusted extension btree_gist.
revoke connect, temporary on database :"DBNAME" from public;
grant connect on database :"DBNAME" to app_migrator, app_worker, app_web, app_reader;
grant create on database :"DBNAME" to app_migrator;

-- A worker and the web tier never sit on locks, and a client that is gone ends what it had begun, on any server's
-- settings. Workers ask for less themselves.
alter role app_worker set idle_in_transaction_session_timeout = '30s';
alter role app_worker set client_connection_check_interval = '2s';
alter role app_web    set idle_in_transaction_session_timeout = '30s';
alter role app_web    set client_connection_check_interval = '2s';
-- A report that runs for hours would keep vacuum from cleaning up behind the workers.
alter role app_reader set statement_timeout = '5min';
alter role app_reader set default_transaction_read_only = on;

-- The resources' rows are the web tier's. Retire one with `active = false`: deleting it leaves its bookings behind
-- without a name, for no foreign key forbids it (sql/README.md says why there is none).
select to_regclass('booking.resource') is not null as there \gset
\if :there
grant insert, update, delete on booking.resource to app_web;
\else
\echo 'There is no booking.resource yet: run this once more after bookingctl migrate.'
\endif

\getenv password APP_MIGRATOR_PASSWORD
\if :{?password}
alter role app_migrator password :'password';
\unset password
\endif
\getenv password APP_WORKER_PASSWORD
\if :{?password}
alter role app_worker password :'password';
\unset password
\endif
\getenv password APP_WEB_PASSWORD
\if :{?password}
alter role app_web password :'password';
\unset password
\endif
\getenv password APP_READER_PASSWORD
\if :{?password}
alter role app_reader password :'password';
\unset password
\endif
commit;
