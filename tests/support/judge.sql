-- The judge's reasoning; run by tests/support/judge, which leaves journal.tsv and redis.tsv in the working directory.
-- Each check adds rows to `finding`: what kind of wrong, about what, and why. It trusts no constraint, no primary key and
-- no version number, only rows; everything else is a temporary table.
-- Rows out: count|fact|finding|json|verdict, tab-separated.

create temp table finding (wrong text not null, subject text, why text);

-- ---------------------------------------------------------------- what came in

create temp table raw_journal (line text);
create temp table raw_redis (line text);
\copy raw_journal from 'journal.tsv' with (format csv, delimiter E'\x02', quote E'\x01')
\copy raw_redis from 'redis.tsv' with (format csv, delimiter E'\x02', quote E'\x01')

create function pg_temp.as_json(text) returns jsonb language plpgsql immutable as $$
begin
  return $1::jsonb;
exception when others then
  return null;
end $$;

-- Is this command beyond doubt what its kind wants? (False where in doubt.)
create function pg_temp.well_formed(doc jsonb) returns boolean language plpgsql as $$
declare
  args jsonb := doc->'args';
  required text[];
  optional text[];
  time_shape constant text := '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$';
  member text;
begin
  if jsonb_typeof(doc) is distinct from 'object' or jsonb_typeof(args) is distinct from 'object' then return false; end if;
  case doc->>'kind'
    when 'booking.create' then
      required := '{booking_id,resource_id,customer_id,starts_at,ends_at}'; optional := '{notes}';
    when 'booking.confirm', 'booking.complete' then
      required := '{booking_id}'; optional := '{expected_version}';
    when 'booking.reschedule' then
      required := '{booking_id,starts_at,ends_at}'; optional := '{resource_id,expected_version}';
    when 'booking.cancel' then
      required := '{booking_id}'; optional := '{reason,expected_version}';
    else return false;
  end case;
  if not args ?& required or (args - required - optional) <> '{}' then return false; end if;
  if coalesce(doc->>'id', '') !~ '^[A-Za-z0-9_.:-]{1,128}$' then return false; end if;
  if coalesce(doc->>'key', args->>'booking_id') <> args->>'booking_id' then return false; end if;
  foreach member in array required || optional loop
    continue when not args ? member;
    case
      when member = 'booking_id' then
        if jsonb_typeof(args->member) <> 'string'
           or args->>member !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then return false; end if;
      when member in ('resource_id', 'customer_id', 'expected_version') then
        if jsonb_typeof(args->member) <> 'number' or args->>member !~ '^-?\d{1,15}$' then return false; end if;
      when member in ('starts_at', 'ends_at') then
        if jsonb_typeof(args->member) <> 'string' or args->>member !~ time_shape
           or extract(year from (args->>member)::timestamptz at time zone 'UTC') not between 2000 and 2199 then
          return false;
        end if;
      else
        if jsonb_typeof(args->member) <> 'string'
           or length(args->>member) > (case member when 'notes' then 2000 else 500 end) then return false; end if;
    end case;
  end loop;
  return not args ? 'starts_at' or (args->>'starts_at')::timestamptz < (args->>'ends_at')::timestamptz;
exception when others then
  return false;
end $$;

do $$
declare bad text;
begin
  select regexp_replace(line, '^[^\t]*\t', 'line ') into bad from raw_journal
  where line !~ '^[^\t]*\t[^\t]*\t(try|ok|fail|unknown)\t[^\t]*\t(-|\d+-\d+)?\t' limit 1;
  if found then raise exception 'not a journal: %', left(bad, 120); end if;
end $$;

create temp table record as
with split as materialized (select string_to_array(line, E'\t') f from raw_journal)
select f[1] src, f[2]::bigint nr, f[3] state, f[4] line, nullif(nullif(f[5], '-'), '') ticket,
       pg_temp.as_json(array_to_string(f[6:], E'\t')) doc
from split;

-- One row for each sending; a try that nothing follows is one of unknown fate.
create temp table sent as
select row_number() over (order by src, nr) n, src, line, state, ticket, doc, doc->>'id' id, doc->>'kind' kind,
       coalesce(doc->>'key', doc->'args'->>'booking_id') key,
       jsonb_build_array(doc->'kind', coalesce(doc->'key', doc->'args'->'booking_id'), doc->'args') contents
from (select src, nr, line, state, ticket, doc from record where state <> 'try'
      union all
      select src, nr, line, 'unknown', ticket, doc from record t
      where state = 'try' and not exists (select from record o
        where o.src = t.src and o.line = t.line and o.state <> 'try' and o.nr > t.nr)) x;
create index on sent (id);
create index on sent (ticket);

create temp table asked as -- by id
select id, bool_or(state <> 'fail') possible, bool_or(state = 'unknown' or state = 'ok' and ticket is null) vague,
       count(distinct contents) > 1 conflicting
from sent where id is not null group by id;
create index on asked (id);

create temp table redis as select string_to_array(line, E'\t') f from raw_redis;
create temp table place as select f[2] place, f[3] owner, f[4] ticket from redis where f[1] = 'place';
create temp table job as select f[2] ticket, f[3] id, f[4] kind, f[5] key, f[6] reason from redis where f[1] = 'job';
create temp table gate as select f[2] key, f[3] n from redis where f[1] = 'gate';
create temp table worker as
select f[2] name, f[3]::numeric > (select f[2]::numeric from redis where f[1] = 'now') live from redis where f[1] = 'worker';
create temp table touched as -- tickets that an admin retried or dropped: their order and their end are his
select distinct m[1] ticket from redis, regexp_matches(f[2], '\d+-\d+', 'g') m where f[1] = 'audit';
create index on place (ticket);
create index on job (ticket);

create temp table ledger as
select row_number() over () n, id::text, ticket::text, kind::text, booking_id::text, outcome::text, code::text, version::int,
       enqueued_at, applied_at, ticket::text ~ '^\d+-\d+$' has_ticket,
       case when ticket::text ~ '^\d+-\d+$' then split_part(ticket, '-', 1)::numeric end ms,
       case when ticket::text ~ '^\d+-\d+$' then split_part(ticket, '-', 2)::numeric end seq
from booking.command;
create temp table bookings as
select id::text, resource_id, during, status::text, version::int from booking.booking;
create index on ledger (id);
create index on ledger (booking_id);
create index on bookings (id);
analyze sent; analyze asked; analyze place; analyze job; analyze ledger; analyze bookings;

-- What the ledger's row carried out: the sending with its ticket, or any with its id.
create temp table done as
select distinct on (l.n) l.*, s.doc, s.contents, s.key asked_key, s.kind asked_kind, s.state
from ledger l left join sent s on s.id = l.id
order by l.n, (s.ticket = l.ticket) desc nulls last, s.n;
create index on done (id);
create index on done (booking_id);
analyze done;

-- ---------------------------------------------------------------- lost

-- An acknowledged command is in the ledger, or it is in a place of the queue (dead is one).
insert into finding
select 'lost', coalesce(s.ticket, s.id, 'line ' || s.line), 'acknowledged, but in no place and not in the ledger'
from sent s left join asked a using (id)
where s.state = 'ok'
  and not exists (select from place p where p.ticket = s.ticket)
  and not exists (select from touched t where t.ticket = s.ticket)
  and not exists (select from done d where d.id = s.id and (not a.conflicting or a.vague or d.contents = s.contents));

insert into finding
select 'lost', booking_id, 'the ledger says applied, but there is no such booking'
from ledger where outcome = 'applied' and not exists (select from bookings b where b.id = booking_id) group by booking_id;

insert into finding
select 'lost', l.ticket, 'the ledger says dead, but there is no dead letter'
from ledger l where l.outcome = 'dead'
  and not exists (select from place p where p.ticket = l.ticket)
  and not exists (select from touched t where t.ticket = l.ticket);

-- ---------------------------------------------------------------- duplicated, and versions

insert into finding
select 'duplicated', id, count(*) || ' rows in the ledger' from ledger group by id having count(*) > 1;

create temp table history as
select booking_id, count(*) n, count(distinct version) d, min(version) lo, max(version) hi
from ledger where outcome = 'applied' group by 1;

insert into finding
select case when h.n < b.version or h.d < h.n then 'duplicated' when h.n > b.version then 'lost' else 'misordered' end, b.id,
       format('version %s after %s applied commands, versions %s..%s', b.version, h.n, h.lo, h.hi)
from bookings b join history h on h.booking_id = b.id
where b.version is distinct from h.n or h.d <> h.n or h.lo <> 1 or h.hi <> h.n;

-- ---------------------------------------------------------------- unexpected

insert into finding
select 'unexpected', l.id, 'in the ledger, but ' ||
       case when a.id is null then 'nobody sent it' else 'every sending of it failed' end
from ledger l left join asked a using (id) where a.possible is not true;

insert into finding
select 'unexpected', l.id, format('the ledger''s ticket %s is none of its sendings''', coalesce(l.ticket, 'null'))
from ledger l join asked a using (id)
where a.possible and not a.vague and not exists (select from sent s where s.id = l.id and s.ticket = l.ticket);

insert into finding
select 'unexpected', id, format('asked for %s of %s, but the ledger has %s of %s', asked_kind, asked_key, kind, booking_id)
from done where doc is not null
  and (kind is distinct from asked_kind or lower(booking_id) is distinct from lower(asked_key)
       or jsonb_typeof(doc->'args') is distinct from 'object');

insert into finding
select 'unexpected', id, format('outcome %s with code %s', coalesce(outcome, 'null'), coalesce(code, 'null'))
from ledger where coalesce(outcome, '') not in ('applied', 'rejected', 'dead') or (outcome = 'applied') <> (code is null);

insert into finding
select 'unexpected', b.id, 'a booking without a booking.create in the ledger'
from bookings b where not exists (
  select from ledger l where l.booking_id = b.id and l.kind = 'booking.create' and l.outcome = 'applied');

-- The booking as it stands is what its last applied commands made of it.
insert into finding
select 'unexpected', b.id, format('is %s, but the last applied command left it %s', b.status, last.status)
from bookings b join (
  select distinct on (booking_id) booking_id, case kind when 'booking.create' then 'pending' when 'booking.confirm' then 'confirmed'
           when 'booking.cancel' then 'cancelled' when 'booking.complete' then 'completed' end status
  from ledger where outcome = 'applied' and kind <> 'booking.reschedule'
  order by booking_id, version desc) last on last.booking_id = b.id
where last.status is distinct from b.status;

insert into finding
select 'unexpected', b.id, format('during %s, but the last applied command asked for %s - %s', b.during, starts_at, ends_at)
from bookings b join (
  select distinct on (booking_id) booking_id, doc->'args'->>'starts_at' starts_at, doc->'args'->>'ends_at' ends_at
  from done where outcome = 'applied' and kind in ('booking.create', 'booking.reschedule') and pg_temp.well_formed(doc)
  order by booking_id, version desc) last on last.booking_id = b.id
where b.during is distinct from tstzrange(starts_at::timestamptz, ends_at::timestamptz, '[)');

-- ---------------------------------------------------------------- misordered

-- Effects of one key rise in inbox order. A job that was to wait, or that an admin sent round again, has left that order.
create temp table ordered as
select * from done d
where has_ticket and not coalesce(doc ? 'not_before', false) and not exists (select from touched t where t.ticket = d.ticket);

insert into finding
select 'misordered', booking_id, format('%s (ticket %s) got version %s after version %s', id, ticket, version, before)
from (select *, lag(version) over (partition by booking_id order by ms, seq) before from ordered where outcome = 'applied') x
where version <= before;

insert into finding
select 'misordered', booking_id, format('%s (ticket %s) was written before %s, which came earlier', id, ticket, before_id)
from (select *, lag(applied_at) over w before, lag(id) over w before_id from ordered
      window w as (partition by booking_id order by ms, seq)) x
where applied_at < before;

-- ---------------------------------------------------------------- double-booked

insert into finding
select 'double-booked', id, 'a row that no overlap check can see: ' || coalesce(during::text, 'null')
from bookings
where during is null or resource_id is null or isempty(during) or lower_inf(during) or upper_inf(during)
   or not isfinite(lower(during)) or not isfinite(upper(during));

-- A sweep finds the resources in doubt, a self-join names the pairs.
insert into finding
with active as (select * from bookings where status in ('pending', 'confirmed') and not isempty(during)),
swept as (
  select resource_id, lower(during) < max(upper(during)) over (
    partition by resource_id order by lower(during), id rows between unbounded preceding and 1 preceding) hit
  from active)
select 'double-booked', a.id, format('overlaps %s on resource %s', b.id, a.resource_id)
from active a join active b on a.resource_id = b.resource_id and a.id < b.id and a.during && b.during
where a.resource_id in (select resource_id from swept where hit);

-- ---------------------------------------------------------------- stranded

insert into finding
select 'stranded', ticket, 'in ' || count(*) || ' places: ' || string_agg(place, ', ' order by place)
from place group by ticket having count(*) > 1;

insert into finding
select 'stranded', ticket, 'a job in no place' from job j where not exists (select from place p where p.ticket = j.ticket);

insert into finding
select 'stranded', ticket, 'in ' || place || ' without its job'
from place p where place <> 'inbox' and not exists (select from job j where j.ticket = p.ticket);

insert into finding
select 'stranded', key, 'a gate (' || n || ') without a holder'
from gate g where not exists (
  select from place p join job j using (ticket) where p.place in ('active', 'ready', 'retry') and lower(j.key) = lower(g.key));

insert into finding
select 'stranded', owner, 'a line of ' || count(*) || ' behind no gate'
from place where place = 'line' and lower(owner) not in (select lower(key) from gate) group by owner;

insert into finding
select 'stranded', owner, 'holds ' || count(*) || ' jobs and does not live'
from place where place = 'active' and owner not in (select name from worker where live) group by owner;

insert into finding
select 'stranded', 'backend ' || pid, state || ' since ' || state_change
from pg_stat_activity
where datname = current_database() and state like 'idle in transaction%' and state_change < clock_timestamp() - interval '1 s';

-- ---------------------------------------------------------------- left behind, wrongly dead

insert into finding
select 'left behind', ticket, 'still in ' || place from place where place <> 'dead';

insert into finding
select 'wrongly dead', j.ticket, format('%s %s: %s', j.kind, j.id, coalesce(nullif(j.reason, ''), 'no reason'))
from place p join job j using (ticket)
where p.place = 'dead' and not (j.reason = any (string_to_array(:'expect_dead', ',')))
  and case
    when j.reason in ('malformed', 'invalid_args', 'unknown_kind') then
      coalesce((select bool_and(pg_temp.well_formed(doc)) from sent s where s.ticket = j.ticket), false)
    when j.reason = 'expired' then
      coalesce((select bool_and(not doc ? 'expires_at') from sent s where s.ticket = j.ticket), false)
    when j.reason = 'id_reused' then
      not coalesce((select a.conflicting or a.vague from asked a where a.id = j.id), true)
    else true
  end;

-- ---------------------------------------------------------------- verdict

create temp table verdict as
select k.wrong, count(f.wrong) n, k.ord
from unnest('{lost,duplicated,unexpected,misordered,double-booked,stranded,wrongly dead,left behind}'::text[])
     with ordinality k (wrong, ord)
left join finding f using (wrong) group by k.wrong, k.ord;

create temp table fact as
select (select count(*) from sent where state = 'ok') ok, (select count(*) from sent where state = 'fail') fail,
       (select count(*) from sent where state = 'unknown') unknown,
       (select count(*) from ledger where outcome = 'applied') applied,
       (select count(*) from ledger where outcome = 'rejected') rejected,
       (select count(*) from place where place = 'dead') dead, q.*
from (select round(extract(epoch from percentile_disc(0.5) within group (order by applied_at - enqueued_at)) * 1000) p50,
             round(extract(epoch from percentile_disc(0.99) within group (order by applied_at - enqueued_at)) * 1000) p99,
             round(extract(epoch from max(applied_at - enqueued_at)) * 1000) most from ledger) q;

select 'fact', 'sent', format('%s ok, %s fail, %s unknown', ok, fail, unknown) from fact;
select 'fact', 'came out', format('%s applied, %s rejected, %s dead', applied, rejected, dead) from fact;
select 'fact', 'waited', format('p50 %s ms, p99 %s ms, longest %s ms', p50, p99, most) from fact where p50 is not null;
select 'count', wrong, n from verdict order by ord;
select 'finding', wrong, subject, why
from (select *, row_number() over (partition by wrong order by subject) r from finding) x where r <= 5 order by wrong, r;
select 'fact', 'verdict', case
  when exists (select from finding) then 'something is wrong'
  when (select ok from fact) = 0 then 'nothing was sent: this proves nothing'
  else 'clean' end;
select 'verdict', 'clean' where not exists (select from finding) and (select ok from fact) > 0;
select 'json', json_build_object(
  'clean', not exists (select from finding) and (select ok from fact) > 0,
  'sent', (select json_build_object('ok', ok, 'fail', fail, 'unknown', unknown) from fact),
  'applied', (select applied from fact), 'rejected', (select rejected from fact), 'dead', (select dead from fact),
  'counts', (select json_object_agg(replace(replace(wrong, '-', '_'), ' ', '_'), n order by ord) from verdict),
  'findings', (select coalesce(json_agg(json_build_object('wrong', wrong, 'subject', subject, 'why', why)), '[]')
               from (select * from finding limit 100) f),
  'wait_ms', (select json_build_object('p50', p50, 'p99', p99, 'max', most) from fact));
