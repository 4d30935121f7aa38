-- 005: booking.prune(), which lets old ledger rows go
--
-- Why    the ledger grows for ever otherwise. The worker may not delete from it, so it asks this function, which knows no
--        way to delete anything but rows past the retention. An id whose row is gone can have its effect again.
--        The index makes finding the oldest rows cost the same however long the ledger is.
-- Locks  share on the ledger while its index is built: instant on a new schema.

create index command_applied_at_idx on booking.command (applied_at);

-- booking.prune(retention_days, most)
--
-- Rows   how many were deleted: fewer than `most` means there are no more. A retention of 0 keeps everything.
-- Locks  the rows it deletes; one that somebody else holds (a repeat being answered, another pruner) is left for later.
create function booking.prune(retention_days int, most int)
  returns int
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set jit = off
as $$
declare
  pruned int;
begin
  if retention_days is null or retention_days < 0 or most is null or most < 0 then
    raise exception 'prune: retention_days and most must not be negative (got % and %)', retention_days, most
      using errcode = 'invalid_parameter_value';
  end if;
  if retention_days = 0 then
    return 0;
  end if;

  delete from booking.command
   where id = any (array(select old.id
                           from booking.command old
                          where old.applied_at < now() - make_interval(days => retention_days)
                          order by old.applied_at
                          limit most
                            for update skip locked));
  get diagnostics pruned = row_count;
  return pruned;
end
$$;

comment on function booking.prune(int, int) is 'Deletes at most `most` ledger rows older than retention_days; returns how many.';

grant execute on function booking.prune(int, int) to booking_worker;
