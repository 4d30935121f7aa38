#!lua name=booking_worker
-- queue.lua: the queue's protocol, as functions inside Redis.
--
-- A job is in exactly one place at any moment, and every move is one call of a function below. Places of a queue
-- (all keys carry the prefix "{<queue>}:", KEYS[1] of every call is "{<queue>}:inbox"):
--
--   inbox             stream  as the producer XADDed it; the entry's id is the job's ticket from then on
--   scheduled, retry  zset    ticket -> due time (ms)
--   ready             list    tickets that a take serves before the inbox
--   line:<key>        list    tickets that wait behind the holder of their ordering key
--   active:<worker>   hash    ticket -> "<lane>/<turn>:<key>": what a worker holds, and which take brought it
--   dead              zset    ticket -> time of death (ms)
--
-- and beside them job:<ticket> (hash: the entry's fields and its story), gate (hash: ordering key -> taken jobs of it
-- that are not finished: its holder and those in its line), workers (zset: incarnation -> lease deadline),
-- worker:<name>, charged:<worker> (hash: tickets charged with its death -> which take brought it), config, audit,
-- reply:<id>.
--
-- Who holds a key's gate is the one job of that key that may be in ready, active or retry; the others of the key that
-- have left the inbox wait in its line, in inbox order. The gate outlives retries, requeues and crashes and is passed
-- on only when its holder is done or dead. Keys are compared without regard to ASCII case: a UUID in capitals is the
-- same booking.
--
-- Redis isolates a function but does not roll it back. So every function first reads (which also checks that each key
-- has the type it expects), then decides, then writes; between the first write and the last nothing is left that can
-- fail. All may run when memory is full (allow-oom): a queue that cannot be emptied stays full for ever.
--
-- Payloads stay bytes: nothing from a producer goes through Lua's JSON or number parsing.

local VERSION = 5
local BOUND = 128        -- how much time-driven work one take does at the most, per kind
local REPLY_TTL_S = 300
local CHARGED_TTL_S = 86400
local HISTORY_MOST = 8000
local REST_MOST_MS = 30000

local KNOWN = { id = true, kind = true, key = true, args = true, not_before = true, expires_at = true,
  reply = true, traceparent = true }

local function prefix_of(keys)
  return string.sub(keys[1], 1, -6)
end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Calls `command key` with the values in pieces that fit Lua's stack.
local function spread(command, key, values)
  for i = 1, #values, 2000 do
    redis.call(command, key, unpack(values, i, math.min(i + 1999, #values)))
  end
end

-- Reads that fail on a key of the wrong type, before anything is written. The last one is of a key that never exists: while
-- a cluster hands our slot over to another node, touching what is missing is an error, and a move makes new keys.
local function check_types(p)
  redis.call('LLEN', p .. 'ready')
  redis.call('ZCARD', p .. 'retry')
  redis.call('ZCARD', p .. 'scheduled')
  redis.call('ZCARD', p .. 'dead')
  redis.call('HLEN', p .. 'gate')
  redis.call('LLEN', p .. 'nowhere')
end

-- One line of a job's story, kept in its hash.
local function note(p, ticket, now, text)
  local job = p .. 'job:' .. ticket
  local old = redis.call('HGET', job, 'history') or ''
  if #old < HISTORY_MOST then
    redis.call('HSET', job, 'history', old .. string.format('%.0f', now) .. ' ' .. string.gsub(text, '[%c]', ' ') .. '\n')
  end
end

-- What lets go of the gates of finished jobs. plan_release reads, release writes.
local function plan_release(p, names)
  local plan = { gone = {}, kept = {}, freed = {} }
  if #names == 0 then
    return plan
  end
  local counts = redis.call('HMGET', p .. 'gate', unpack(names))
  for i, name in ipairs(names) do
    local count = tonumber(counts[i] or 0)
    local following = count > 1 and redis.call('LINDEX', p .. 'line:' .. name, 0)
    if following then
      plan.kept[#plan.kept + 1] = name
      plan.kept[#plan.kept + 1] = count - 1
      plan.freed[#plan.freed + 1] = following
    else
      plan.gone[#plan.gone + 1] = name
    end
  end
  return plan
end

local function release(p, plan)
  if #plan.gone > 0 then
    redis.call('HDEL', p .. 'gate', unpack(plan.gone))
  end
  if #plan.freed == 0 then
    return
  end
  redis.call('HSET', p .. 'gate', unpack(plan.kept))
  for i = 1, #plan.kept, 2 do
    redis.call('LPOP', p .. 'line:' .. plan.kept[i])
  end
  redis.call('RPUSH', p .. 'ready', unpack(plan.freed))
  for _, ticket in ipairs(plan.freed) do
    redis.call('HSET', p .. 'job:' .. ticket, 'state', 'ready')
  end
end

-- What "<lane>/<turn>:<what>" says, if it is of this lane and of a take no later than this turn: the worker's other lanes,
-- and later turns of this one, have the job from somebody who got it back. (Workers before version 3 name a later turn than
-- that of their take, and have nothing but "<lane>:" noted.)
local function said_of(hold, lane, turn)
  local by, what = string.match(hold, '^([%d/]+):(.*)$')
  local by_lane, by_turn = string.match(by, '^(%d+)/?(%d*)$')
  return by_lane == lane and tonumber(by_turn ~= '' and by_turn or 0) <= tonumber(turn) and what or nil
end

-- Moves tickets that a worker holds back to ready, their gates held. `tried`: the worker may have brought them to the
-- ledger, so whoever gets them next must not decide anything without it. With `death`, each has cost its worker's life.
local function hand_back(p, worker, tickets, now, tried, death)
  for i = 1, #tickets, 1000 do
    local part = { unpack(tickets, i, math.min(i + 999, #tickets)) }
    local holds = death and redis.call('HMGET', p .. 'active:' .. worker, unpack(part))
    redis.call('HDEL', p .. 'active:' .. worker, unpack(part))
    redis.call('RPUSH', p .. 'ready', unpack(part))
    for k, ticket in ipairs(part) do
      if death then
        local since = redis.call('HGET', p .. 'job:' .. ticket, 'retried_at') or ''
        redis.call('HINCRBY', p .. 'job:' .. ticket, 'deliveries', 1)
        redis.call('HSET', p .. 'charged:' .. worker, ticket, string.match(holds[k], '^[%d/]+:') .. since)
        note(p, ticket, now, 'its worker ' .. worker .. ' fell silent')
      end
      if tried then
        redis.call('HSET', p .. 'job:' .. ticket, 'state', 'ready', 'unsure', '1')
      else
        redis.call('HSET', p .. 'job:' .. ticket, 'state', 'ready')
      end
    end
  end
  if death and #tickets > 0 then
    redis.call('EXPIRE', p .. 'charged:' .. worker, CHARGED_TTL_S)
  end
end

local function name_of(worker)
  return string.match(worker, '^(.*)@')
end

local function forget(p, worker)
  redis.call('ZREM', p .. 'workers', worker)
  redis.call('DEL', p .. 'active:' .. worker)
  local about = p .. 'worker:' .. name_of(worker)
  if redis.call('HGET', about, 'incarnation') == worker then
    redis.call('DEL', about)
  end
end

-- Takes the jobs of workers whose lease has run out, a bounded number; returns how many.
local function reap(p, now)
  local count = 0
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', p .. 'workers', '-inf', now, 'LIMIT', 0, BOUND)) do
    local tickets = redis.call('HKEYS', p .. 'active:' .. worker)
    local some = { unpack(tickets, 1, math.min(#tickets, BOUND - count)) }
    hand_back(p, worker, some, now, true, true)
    count = count + #some
    if #some == #tickets then
      forget(p, worker)
    end
    if count >= BOUND then
      break
    end
  end
  return count
end

-- Moves what is due from retry (it holds its gate) and from scheduled (it takes its place in its line now).
local function promote(p, now)
  local due = redis.call('ZRANGEBYSCORE', p .. 'retry', '-inf', now, 'LIMIT', 0, BOUND)
  if #due > 0 then
    redis.call('ZREM', p .. 'retry', unpack(due))
    redis.call('RPUSH', p .. 'ready', unpack(due))
    for _, ticket in ipairs(due) do
      redis.call('HSET', p .. 'job:' .. ticket, 'state', 'ready')
    end
  end
  due = redis.call('ZRANGEBYSCORE', p .. 'scheduled', '-inf', now, 'LIMIT', 0, BOUND)
  for _, ticket in ipairs(due) do
    local name = string.lower(redis.call('HGET', p .. 'job:' .. ticket, 'key') or '')
    local count = tonumber(redis.call('HGET', p .. 'gate', name) or 0)
    if count > 0 then
      redis.call('LLEN', p .. 'line:' .. name)
    end
    redis.call('ZREM', p .. 'scheduled', ticket)
    redis.call('HSET', p .. 'gate', name, count + 1)
    redis.call('RPUSH', count > 0 and p .. 'line:' .. name or p .. 'ready', ticket)
    redis.call('HSET', p .. 'job:' .. ticket, 'state', count > 0 and 'waiting' or 'ready')
  end
end

-- The ordering key and the due time ('' for none) of an entry whose shape is right, nil for any other. What the
-- values mean is checked by the worker; here stands only what decides on the entry's place.
local function shape_of(fields)
  if #fields == 8 and fields[1] == 'id' and fields[3] == 'kind' and fields[5] == 'key' and fields[7] == 'args' then
    local key = fields[6]
    if #key >= 1 and #key <= 128 then
      return key, ''
    end
    return nil
  end
  local seen = {}
  for i = 1, #fields, 2 do
    local name = fields[i]
    if not KNOWN[name] or seen[name] then
      return nil
    end
    seen[name] = fields[i + 1]
  end
  local key, due = seen.key, seen.not_before or ''
  if not (seen.id and seen.kind and seen.args and key) or #key < 1 or #key > 128 then
    return nil
  end
  if seen.not_before and not (string.match(due, '^%d+$') and #due <= 15) then
    return nil
  end
  return key, due
end

-- The fields a malformed entry is kept with: every byte of it, as netstrings in `raw`, and the first of each name
-- that a listing wants to show.
local function raw_fields(fields)
  local raw = {}
  local shown = {}
  local out = {}
  for i, value in ipairs(fields) do
    raw[i] = #value .. ':' .. value .. ','
    local name = i % 2 == 0 and fields[i - 1]
    if (name == 'id' or name == 'kind' or name == 'key' or name == 'traceparent') and not shown[name]
        and #value <= 128 then
      shown[name] = true
      out[#out + 1] = name
      out[#out + 1] = value
    end
  end
  out[#out + 1] = 'raw'
  out[#out + 1] = table.concat(raw)
  return out
end

-- Forgets inbox entries up to and including the last one read.
local function trim_inbox(inbox, entries)
  local ms, seq = string.match(entries[#entries][1], '^(%d+)-(%d+)$')
  if #seq <= 15 then
    redis.call('XTRIM', inbox, 'MINID', '=', ms .. '-' .. string.format('%.0f', tonumber(seq) + 1))
    return
  end
  local ids = {}
  for i, entry in ipairs(entries) do
    ids[i] = entry[1]
  end
  spread('XDEL', inbox, ids)
end

-- Takes up to `want` jobs from the inbox into `jobs`, moving what has to wait to its line or to scheduled. Returns
-- the id of the last entry seen, or nil, and how many were read.
local function take_inbox(p, inbox, worker, holder, want, now, jobs)
  local entries = redis.call('XRANGE', inbox, '-', '+', 'COUNT', want)
  local n = #entries
  if n == 0 then
    return nil, 0
  end
  -- read and decide
  local keys, dues, names, index = {}, {}, {}, {}
  for i = 1, n do
    local key, due = shape_of(entries[i][2])
    local name = key and string.lower(key)
    if name and due ~= '' and tonumber(due) > now then
      dues[i] = due
    elseif name then
      keys[i] = name
      if not index[name] then
        names[#names + 1] = name
        index[name] = #names
      end
    end
  end
  local counts = {}
  if #names > 0 then
    counts = redis.call('HMGET', p .. 'gate', unpack(names))
    for i = 1, #names do
      counts[i] = tonumber(counts[i] or 0)
      if counts[i] > 0 then
        redis.call('LLEN', p .. 'line:' .. names[i])
      end
    end
  end
  redis.call('HLEN', p .. 'active:' .. worker)
  -- write
  local held, gates, last = {}, {}, entries[n][1]
  local job_prefix = p .. 'job:'
  trim_inbox(inbox, entries)
  for i = 1, n do
    local entry = entries[i]
    local ticket, fields = entry[1], entry[2]
    local name = keys[i]
    local slot = name and index[name]
    if dues[i] or (slot and counts[slot] > 0) then
      local size = #fields
      fields[size + 1] = 'state'
      fields[size + 2] = dues[i] and 'scheduled' or 'waiting'
      redis.call('HSET', job_prefix .. ticket, unpack(fields))
      if dues[i] then
        redis.call('ZADD', p .. 'scheduled', dues[i], ticket)
      else
        redis.call('RPUSH', p .. 'line:' .. name, ticket)
      end
    else
      -- a job without a `state` is active: this is the path that has to be short
      if not name then
        fields = raw_fields(fields)
        entry[2] = fields
      end
      redis.call('HSET', job_prefix .. ticket, unpack(fields))
      local size = #held
      held[size + 1] = ticket
      held[size + 2] = name and holder .. name or holder
      jobs[#jobs + 1] = entry
    end
    if slot then
      counts[slot] = counts[slot] + 1
    end
  end
  if #held > 0 then
    redis.call('HSET', p .. 'active:' .. worker, unpack(held))
  end
  for i = 1, #names do
    gates[2 * i - 1] = names[i]
    gates[2 * i] = counts[i] == 1 and '1' or counts[i]
  end
  if #gates > 0 then
    redis.call('HSET', p .. 'gate', unpack(gates))
  end
  return last, n
end

-- Whether the worker holds a job that may be what kills workers.
local function holds_suspect(p, worker, careful)
  for _, ticket in ipairs(redis.call('HKEYS', p .. 'active:' .. worker)) do
    if tonumber(redis.call('HGET', p .. 'job:' .. ticket, 'deliveries') or 0) >= careful then
      return true
    end
  end
  return false
end

-- Takes up to `want` jobs from ready into `jobs`. A job that has cost `careful` lives or more (0: any number) is a
-- suspect: it is taken alone, and only while the worker holds no other (till then it goes to the end of the list), so that
-- if it kills again nobody is charged with that but the one that did it. Returns whether it is alone.
local function take_ready(p, worker, holder, want, careful, jobs)
  local tickets = redis.call('LRANGE', p .. 'ready', 0, want - 1)
  if #tickets == 0 then
    return false
  end
  redis.call('HLEN', p .. 'active:' .. worker)
  local held, passed, looked, one_at_work, alone = {}, {}, 0, nil, false
  for _, ticket in ipairs(tickets) do
    local fields = redis.call('HGETALL', p .. 'job:' .. ticket)
    local key, raw, deliveries = '', false, 0
    for i = 1, #fields, 2 do
      if fields[i] == 'key' then
        key = fields[i + 1]
      elseif fields[i] == 'raw' then
        raw = true
      elseif fields[i] == 'deliveries' then
        deliveries = tonumber(fields[i + 1])
      end
    end
    local suspect = careful > 0 and deliveries >= careful
    if suspect and one_at_work == nil then
      one_at_work = holds_suspect(p, worker, careful)
    end
    if suspect and not one_at_work and #jobs > 0 then
      break -- the next take begins with it
    end
    looked = looked + 1
    if suspect and one_at_work then
      passed[#passed + 1] = ticket
    elseif #fields > 0 then
      held[#held + 1] = ticket
      held[#held + 1] = holder .. (raw and '' or string.lower(key))
      jobs[#jobs + 1] = { ticket, fields }
      alone = suspect
    end
    if alone then
      break
    end
  end
  redis.call('LPOP', p .. 'ready', looked)
  if #passed > 0 then
    redis.call('RPUSH', p .. 'ready', unpack(passed))
  end
  if #held > 0 then
    redis.call('HSET', p .. 'active:' .. worker, unpack(held))
    for _, job in ipairs(jobs) do
      redis.call('HDEL', p .. 'job:' .. job[1], 'state')
    end
  end
  return alone
end

-- When something happens next that no entry in the inbox announces (ms; 0 for never).
local function next_due(p)
  local first = 0
  for _, place in ipairs({ 'scheduled', 'retry', 'workers' }) do
    local head = redis.call('ZRANGE', p .. place, 0, 0, 'WITHSCORES')
    local due = head[2] and tonumber(head[2])
    if due and (first == 0 or due < first) then
      first = due
    end
  end
  return first
end

-- A lane numbers its turns. A take of an older turn than the last one comes from a connection that the lane has given up,
-- was long on its way, and must not happen any more: nobody would read its answer. What a take has brought is settled
-- under the number of that take's turn, once: when the answer is lost, the lane sends the same settlement again, and by
-- then its jobs may be in other hands, be it those of the next lane, or charged and moved a second time.
local function is_stale(p, worker, lane, kind, turn)
  return tonumber(turn) <= tonumber(redis.call('HGET', p .. 'worker:' .. name_of(worker), kind .. ':' .. lane) or 0)
end

local function note_turn(p, worker, lane, kind, turn)
  redis.call('HSET', p .. 'worker:' .. name_of(worker), kind .. ':' .. lane, turn)
end

-- take(worker, lane, turn, want, resume, careful): what this lane is to work on. With resume=1 the lane holds nothing as
-- far as it knows (the answer to an earlier take was lost): what is still noted under its name goes back first. `careful`
-- is explained at take_ready (workers before version 4 do not know it).
-- Answer: now, next due, paused, recovered, more, last inbox id seen, jobs {ticket, {field, value, ...}}.
local function take(keys, args)
  local p, worker, lane, want = prefix_of(keys), args[1], args[2], tonumber(args[4])
  local now = now_ms()
  local lease = redis.call('ZSCORE', p .. 'workers', worker)
  if not lease or tonumber(lease) <= now then
    return redis.error_reply('FENCED worker ' .. worker .. ' has no lease')
  end
  check_types(p)
  if is_stale(p, worker, lane, 'take', args[3]) then
    return redis.error_reply('INVALID take of turn ' .. args[3] .. ' came too late')
  end
  if args[5] == '1' then
    local mine = {}
    local all = redis.call('HGETALL', p .. 'active:' .. worker)
    for i = 1, #all, 2 do
      if string.match(all[i + 1], '^%d+') == lane then
        mine[#mine + 1] = all[i]
      end
    end
    hand_back(p, worker, mine, now, false, false)
  end
  if redis.call('HGET', p .. 'config', 'paused') == '1' then
    note_turn(p, worker, lane, 'take', args[3])
    return { now, 0, 1, 0, 0, '', {} }
  end
  local recovered = reap(p, now)
  promote(p, now)
  local jobs, last, scanned = {}, nil, 0
  local holder = lane .. '/' .. args[3] .. ':'
  if want > 0 and take_ready(p, worker, holder, want, tonumber(args[6] or 0), jobs) then
    note_turn(p, worker, lane, 'take', args[3])
    return { now, 0, 0, recovered, 1, '', jobs }
  end
  while #jobs < want and scanned < want + BOUND do
    local asked = want - #jobs
    local seen, n = take_inbox(p, keys[1], worker, holder, asked, now, jobs)
    last = seen or last
    scanned = scanned + n
    if n < asked then
      break
    end
  end
  note_turn(p, worker, lane, 'take', args[3])
  local more = #jobs == want and 1 or 0
  if more == 0 and scanned >= want + BOUND then
    more = 1
  end
  return { now, more == 1 and 0 or next_due(p), 0, recovered, more, last or '', jobs }
end

-- How many arguments follow each verb of settle, the ticket included.
local VERBS = { done = 1, reply = 3, retry = 4, requeue = 3, free = 1, dead = 7 }

local function read_records(args)
  local records, i, n, count = {}, 4, 0, #args
  while i <= count do
    local verb = args[i]
    local size = VERBS[verb]
    if not size or i + size > count then
      return nil
    end
    n = n + 1
    records[n] = size == 1 and { verb, args[i + 1] } or { verb, unpack(args, i + 1, i + size) }
    i = i + size + 1
  end
  return records
end

local function push_reply(p, id, json)
  if id ~= '' then
    redis.call('RPUSH', p .. 'reply:' .. id, json)
    redis.call('EXPIRE', p .. 'reply:' .. id, REPLY_TTL_S)
  end
end

-- How long a job rests that was handed back for the n-th time. Each worker needs some failures until it takes no more:
-- where many workers meet one job, they must not use up its requeues within seconds. (It spends no attempt by this.)
local function rest_ms(times)
  return times < 3 and 0 or math.min(REST_MOST_MS, 250 * 2 ^ math.min(times - 1, 20))
end

-- Writes the fate of one held ticket, all but its gate and its being held.
local function settle_one(p, worker, now, r, finished)
  local verb, ticket = r[1], r[2]
  local job = p .. 'job:' .. ticket
  if verb == 'done' or verb == 'reply' then
    finished[#finished + 1] = job
    if verb == 'reply' then
      push_reply(p, r[3], r[4])
    end
  elseif verb == 'retry' then
    redis.call('HINCRBY', job, 'attempts', 1)
    redis.call('HSET', job, 'state', 'retry', 'unsure', r[4], 'error', r[5])
    note(p, ticket, now, 'to be tried again: ' .. r[5])
    redis.call('ZADD', p .. 'retry', now + tonumber(r[3]), ticket)
  elseif verb == 'requeue' then
    local rest = rest_ms(redis.call('HINCRBY', job, 'requeues', 1))
    redis.call('HSET', job, 'state', rest > 0 and 'retry' or 'ready', 'unsure', r[3], 'error', r[4])
    note(p, ticket, now, 'handed back: ' .. r[4])
    if rest > 0 then
      redis.call('ZADD', p .. 'retry', now + rest, ticket)
    else
      redis.call('RPUSH', p .. 'ready', ticket)
    end
  elseif verb == 'free' then
    redis.call('HSET', job, 'state', 'ready')
    redis.call('RPUSH', p .. 'ready', ticket)
  else
    redis.call('HSET', job, 'state', 'dead', 'reason', r[3], 'sqlstate', r[4], 'error', r[5], 'attempts', r[8],
      'died_at', string.format('%.0f', now), 'worker', worker)
    note(p, ticket, now, 'dead, ' .. r[3] .. ': ' .. r[5])
    redis.call('ZADD', p .. 'dead', now, ticket)
    push_reply(p, r[6], r[7])
  end
end

-- settle(worker, lane, turn, record...): the fates of the tickets that this lane took in that turn. A record is one of
--   done T | reply T id json | retry T delay_ms unsure error | requeue T unsure error | free T
--   dead T reason sqlstate error reply_id reply_json attempts        (reply_id '' for nobody waiting)
-- A requeue puts the job into ready, from the third on into retry for a rest (rest_ms), and spends no attempt.
-- What has been settled already is not settled again. Tickets that it does not hold any more are left alone and given back:
-- they belong to somebody else by now. That the worker still speaks of them proves that they did not kill it, so if
-- they were charged with its death, that is refunded.
-- Answer: now, number of tickets that became ready, lost tickets.
local function settle(keys, args)
  local p, worker = prefix_of(keys), args[1]
  local records = read_records(args)
  if not records then
    return redis.error_reply('INVALID settle record')
  end
  if #records == 0 then
    return { now_ms(), 0, {} }
  end
  local now = now_ms()
  local tickets = {}
  for i, r in ipairs(records) do
    tickets[i] = r[2]
  end
  local holds = redis.call('HMGET', p .. 'active:' .. worker, unpack(tickets))
  check_types(p)
  local member = redis.call('ZSCORE', p .. 'workers', worker)
  if member and is_stale(p, worker, args[2], 'settle', args[3]) then
    return { now, 0, {} }
  end
  local names, mine, lost = {}, {}, {}
  for i, r in ipairs(records) do
    local name = holds[i] and said_of(holds[i], args[2], args[3])
    if not name then
      lost[#lost + 1] = r[2]
    else
      mine[#mine + 1] = r
      local over = r[1] == 'done' or r[1] == 'reply' or r[1] == 'dead'
      if over and name ~= '' then
        names[#names + 1] = name
      end
    end
  end
  local plan = plan_release(p, names)
  local finished, held = {}, {}
  for i, r in ipairs(mine) do
    held[i] = r[2]
    settle_one(p, worker, now, r, finished)
  end
  if #held > 0 then
    redis.call('HDEL', p .. 'active:' .. worker, unpack(held))
  end
  if #finished > 0 then
    redis.call('DEL', unpack(finished))
  end
  release(p, plan)
  for _, ticket in ipairs(lost) do
    local job = p .. 'job:' .. ticket
    local charged = redis.call('HGET', p .. 'charged:' .. worker, ticket)
    local since = charged and said_of(charged, args[2], args[3])
    if since then
      redis.call('HDEL', p .. 'charged:' .. worker, ticket)
      -- not if an admin has forgiven it in between
      if since == (redis.call('HGET', job, 'retried_at') or '') and tonumber(redis.call('HGET', job, 'deliveries') or 0) > 0 then
        redis.call('HINCRBY', job, 'deliveries', -1)
      end
    end
  end
  if member then
    note_turn(p, worker, args[2], 'settle', args[3])
  end
  return { now, #plan.freed, lost }
end

-- The number that a worker was given by a beat before it joined, among what it tells of itself; nil if it asked for none.
local function number_of(args)
  for i = 3, #args - 1, 2 do
    if args[i] == 'number' then
      return tonumber(args[i + 1])
    end
  end
end

-- join(worker, lease_ms, field, value...): begins an incarnation "<name>@<unique>". An older incarnation of the same
-- name is fenced off: its jobs go back, and it cannot take or settle any more. Which one is older is told by the field
-- `number`, that no join which was long on its way, of a process that may be gone, fences off its successor.
-- Answer: now, jobs taken from a namesake.
local function join(keys, args)
  local p, worker, now = prefix_of(keys), args[1], now_ms()
  local about = p .. 'worker:' .. name_of(worker)
  local old = redis.call('HGET', about, 'incarnation')
  local number = number_of(args)
  if old and old ~= worker and number and number < tonumber(redis.call('HGET', about, 'number') or 0) then
    return redis.error_reply('FENCED ' .. old .. ' is newer than ' .. worker)
  end
  check_types(p)
  local recovered = 0
  if old and old ~= worker then
    local tickets = redis.call('HKEYS', p .. 'active:' .. old)
    hand_back(p, old, tickets, now, true, true)
    forget(p, old)
    recovered = #tickets
  end
  redis.call('ZADD', p .. 'workers', now + tonumber(args[2]), worker)
  redis.call('HSET', about, 'incarnation', worker, 'lease_ms', args[2], unpack(args, 3))
  return { now, recovered }
end

-- beat(worker, lease_ms, field, value...): "I live". Answer: now, 1 if it still has its place or 0 if not, the
-- incarnation that goes by this name now ('' for none, or one that is older by its `number`: it came late and does not
-- count), what the operator wants of the breakers ('' for nothing), and for who has no place the number of the
-- incarnation that it may join as, higher with each answer.
local function beat(keys, args)
  local p, worker, now = prefix_of(keys), args[1], now_ms()
  local about = p .. 'worker:' .. name_of(worker)
  local current = redis.call('HGET', about, 'incarnation') or ''
  if not redis.call('ZSCORE', p .. 'workers', worker) then
    local mine, theirs = number_of(args), tonumber(redis.call('HGET', about, 'number') or '')
    if mine and theirs and theirs < mine then
      current = ''
    end
    return { now, 0, current, '', redis.call('HINCRBY', p .. 'config', 'incarnations', 1) }
  end
  redis.call('ZADD', p .. 'workers', now + tonumber(args[2]), worker)
  redis.call('HSET', about, 'beat_at', string.format('%.0f', now), unpack(args, 3))
  return { now, 1, current, redis.call('HGET', p .. 'config', 'breaker') or '', 0 }
end

-- leave(worker): hands everything back free of charge and ends the incarnation. Answer: now, jobs handed back.
local function leave(keys, args)
  local p, worker, now = prefix_of(keys), args[1], now_ms()
  local tickets = redis.call('HKEYS', p .. 'active:' .. worker)
  check_types(p)
  hand_back(p, worker, tickets, now, true, false)
  forget(p, worker)
  return { now, #tickets }
end

local function age_of(ticket, now)
  local ms = ticket and tonumber(string.match(ticket, '^(%d+)-'))
  return ms and math.max(0, now - ms) or 0
end

-- status(): name, value, ... ; the counts of the places and the age of the oldest job that could run now.
local function status(keys)
  local p, now = prefix_of(keys), now_ms()
  local taken, active = 0, 0
  local gates = redis.call('HVALS', p .. 'gate')
  for _, count in ipairs(gates) do
    taken = taken + tonumber(count)
  end
  local workers = redis.call('ZRANGE', p .. 'workers', 0, -1)
  for _, worker in ipairs(workers) do
    active = active + redis.call('HLEN', p .. 'active:' .. worker)
  end
  local first = redis.call('XRANGE', keys[1], '-', '+', 'COUNT', 1)[1]
  local oldest = math.max(age_of(first and first[1], now), age_of(redis.call('LINDEX', p .. 'ready', 0), now))
  local oldest_dead = redis.call('ZRANGE', p .. 'dead', 0, 0, 'WITHSCORES')[2]
  return { 'now', now, 'paused', redis.call('HGET', p .. 'config', 'paused') == '1' and 1 or 0,
    'inbox', redis.call('XLEN', keys[1]), 'ready', redis.call('LLEN', p .. 'ready'), 'waiting', taken - #gates,
    'active', active, 'scheduled', redis.call('ZCARD', p .. 'scheduled'), 'retry', redis.call('ZCARD', p .. 'retry'),
    'dead', redis.call('ZCARD', p .. 'dead'), 'oldest_ms', oldest, 'workers', #workers,
    'oldest_dead_ms', oldest_dead and math.max(0, now - tonumber(oldest_dead)) or 0 }
end

-- configure(who, verb, name, value): changes a switch of the queue and leaves a line in the audit.
local function configure(keys, args)
  local p = prefix_of(keys)
  redis.call('HLEN', p .. 'config')
  redis.call('XADD', p .. 'audit', '*', 'who', args[1], 'verb', args[2], 'detail', args[3] .. '=' .. args[4])
  redis.call('HSET', p .. 'config', args[3], args[4])
  return 'OK'
end

-- dead_act(verb, who, why, ticket...): 'retry' brings dead letters back to life, 'drop' forgets them; both leave a line
-- in the audit that names exactly those acted on. Tickets that are not dead (any more) are passed over, so of two
-- admins who press the button at once one acts. A job brought back keeps its id, so it cannot apply twice; what it was
-- charged with is forgiven, and as it may have been applied before it died, it counts as unsure.
-- Answer: the tickets acted on.
local function dead_act(keys, args)
  local p, verb, now = prefix_of(keys), args[1], now_ms()
  if verb ~= 'retry' and verb ~= 'drop' then
    return redis.error_reply('INVALID verb ' .. verb)
  end
  check_types(p)
  local found = {}
  for i = 4, #args do
    if redis.call('ZSCORE', p .. 'dead', args[i]) then
      found[#found + 1] = args[i]
    end
  end
  if #found == 0 then
    return found
  end
  redis.call('XADD', p .. 'audit', '*', 'who', args[2], 'verb', verb, 'why', args[3], 'tickets',
    table.concat(found, ' '))
  local acted = {}
  for _, ticket in ipairs(found) do
    local job = p .. 'job:' .. ticket
    if redis.call('ZREM', p .. 'dead', ticket) == 0 then
      -- named twice in this call
    elseif verb == 'drop' then
      acted[#acted + 1] = ticket
      redis.call('DEL', job)
    else
      acted[#acted + 1] = ticket
      local name = not redis.call('HGET', job, 'raw') and string.lower(redis.call('HGET', job, 'key') or '') or ''
      local count = name ~= '' and tonumber(redis.call('HGET', p .. 'gate', name) or 0) or 0
      note(p, ticket, now, 'brought back by ' .. args[2])
      redis.call('HDEL', job, 'attempts', 'requeues', 'deliveries', 'reason', 'sqlstate', 'died_at')
      redis.call('HSET', job, 'unsure', '1', 'retried_at', string.format('%.0f', now), 'state',
        count > 0 and 'waiting' or 'ready')
      if name ~= '' then
        redis.call('HSET', p .. 'gate', name, count + 1)
      end
      redis.call('RPUSH', count > 0 and p .. 'line:' .. name or p .. 'ready', ticket)
    end
  end
  return acted
end

-- --- what admins ask for; all of it in bounded steps ---------------------------------------------------------------

local LOOK_BYTES = 4000000 -- of args and raw that one dead_find reads at the most

-- Whether Redis keeps member a before member b of the same score: by bytes, whatever the locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

-- The rank of the first dead letter behind (score, ticket), also when that letter has been acted on since.
local function rank_behind(dead, newest, score, ticket)
  if redis.call('ZSCORE', dead, ticket) == score then
    return redis.call(newest and 'ZREVRANK' or 'ZRANK', dead, ticket) + 1
  end
  local low = newest and redis.call('ZCOUNT', dead, '(' .. score, '+inf') or redis.call('ZCOUNT', dead, '-inf', '(' .. score)
  local high = low + redis.call('ZCOUNT', dead, score, score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member = redis.call(newest and 'ZREVRANGE' or 'ZRANGE', dead, middle, middle)[1]
    local passed = newest and before(ticket, member) or not newest and before(member, ticket)
    low, high = passed and middle + 1 or low, passed and high or middle
  end
  return low
end

local SHOWN = { 'id', 'kind', 'key', 'reason', 'error', 'sqlstate', 'attempts', 'requeues', 'deliveries', 'died_at', 'worker',
  'traceparent' }
local SEARCHED = { 'reason', 'kind', 'key', 'id', 'error', 'worker', 'args', 'raw' }

-- Whether a letter passes the filter; the second answer is how many bytes were looked at for it.
local function fits(p, ticket, f)
  if f.reason == '' and f.kind == '' and f.key == '' and f.text == '' then
    return true, 0
  end
  local names = f.text == '' and 3 or #SEARCHED
  local v = redis.call('HMGET', p .. 'job:' .. ticket, unpack(SEARCHED, 1, names))
  if f.reason ~= '' and v[1] ~= f.reason or f.kind ~= '' and v[2] ~= f.kind
      or f.key ~= '' and string.lower(v[3] or '') ~= f.key then
    return false, 0
  end
  local found, bytes = f.text == '' or string.find(ticket, f.text, 1, true) ~= nil, 0
  for i = 1, names do
    bytes = bytes + #(v[i] or '')
    found = found or string.find(string.lower(v[i] or ''), f.text, 1, true) ~= nil
  end
  return found, bytes
end

-- dead_find(order, cursor, want, bound, detail, since_ms, until_ms, reason, kind, key, text): one bounded step through
-- the dead letters, 'newest' or 'oldest' first. `cursor` is '' or what the last step gave; '' filters nothing; the times
-- are times of death; `key` and `text` are compared without regard to ASCII case, text is looked for in the entry and in
-- the error. A place in the list is told by a letter, not by a number, so that acting on letters shifts nothing.
-- Answer: the next cursor ('' at the end), letters looked at, now, then of each found its ticket and, with detail '1',
-- {field, value, ...} without args and raw.
local function dead_find(keys, args)
  local p, newest = prefix_of(keys), args[1] ~= 'oldest'
  local dead, want, bound, detail = p .. 'dead', tonumber(args[3]), tonumber(args[4]), args[5] == '1'
  local since, till = tonumber(args[6]), tonumber(args[7])
  local filter = { reason = args[8], kind = args[9], key = string.lower(args[10]), text = string.lower(args[11]) }
  local score, ticket = string.match(args[2], '^(%d+):(%d+%-%d+)$')
  local start = 0
  if score then
    start = rank_behind(dead, newest, score, ticket)
  elseif newest and till then
    start = redis.call('ZCOUNT', dead, '(' .. args[7], '+inf')
  elseif not newest and since then
    start = redis.call('ZCOUNT', dead, '-inf', '(' .. args[6])
  end
  local rows = redis.call(newest and 'ZREVRANGE' or 'ZRANGE', dead, start, start + bound - 1, 'WITHSCORES')
  local answer, scanned, found, bytes, cursor = { '', 0, now_ms() }, 0, 0, 0, ''
  for i = 1, #rows, 2 do
    local died_at = tonumber(rows[i + 1])
    if newest and since and died_at < since or not newest and till and died_at > till then
      return answer
    end
    scanned = scanned + 1
    answer[2] = scanned
    cursor = rows[i + 1] .. ':' .. rows[i]
    local good, looked = fits(p, rows[i], filter)
    bytes = bytes + looked
    if good then
      found = found + 1
      answer[#answer + 1] = rows[i]
      if detail then
        local values = redis.call('HMGET', p .. 'job:' .. rows[i], unpack(SHOWN))
        local fields = {}
        for k, name in ipairs(SHOWN) do
          fields[2 * k - 1], fields[2 * k] = name, values[k] or ''
        end
        answer[#answer + 1] = fields
      end
    end
    if found == want or bytes > LOOK_BYTES then
      break
    end
  end
  if start + scanned < redis.call('ZCARD', dead) then
    answer[1] = cursor
  end
  return answer
end

-- dead_edit(who, why, ticket, new id, field, value, ...): puts the corrected command into the inbox under its new id and
-- forgets the dead letter, in one step, with a line in the audit that names both. Of two admins who do it at once one
-- acts. Answer: the new ticket, or nothing when the letter is not dead (any more).
local function dead_edit(keys, args)
  local p, ticket = prefix_of(keys), args[3]
  redis.call('XLEN', keys[1])
  redis.call('XLEN', p .. 'audit')
  if not redis.call('ZSCORE', p .. 'dead', ticket) then
    return {}
  end
  local new = redis.call('XADD', keys[1], '*', 'id', args[4], unpack(args, 5))
  redis.call('XADD', p .. 'audit', '*', 'who', args[1], 'verb', 'edit', 'why', args[2], 'tickets', ticket,
    'detail', 'goes on as ' .. new .. ', id ' .. args[4])
  redis.call('ZREM', p .. 'dead', ticket)
  redis.call('DEL', p .. 'job:' .. ticket)
  return { new }
end

-- Who holds the gate of which ordering key, as far as that is found among the held and the first thousand others.
local function holders(p)
  local found = {}
  for _, worker in ipairs(redis.call('ZRANGE', p .. 'workers', 0, -1)) do
    local held = redis.call('HGETALL', p .. 'active:' .. worker)
    for i = 1, #held, 2 do
      found[string.match(held[i + 1], '^[%d/]+:(.*)$') or ''] = { held[i], 'active', worker }
    end
  end
  local others = { ready = redis.call('LRANGE', p .. 'ready', 0, 999), retry = redis.call('ZRANGE', p .. 'retry', 0, 999) }
  for place, tickets in pairs(others) do
    for _, ticket in ipairs(tickets) do
      found[string.lower(redis.call('HGET', p .. 'job:' .. ticket, 'key') or '')] = { ticket, place, '' }
    end
  end
  return found
end

-- lines(most): the longest lines. Answer: of each its key, how many wait in it, the first of them, and the holder's
-- ticket, place and worker ('' where not found). At most 50,000 keys are looked at.
local function lines(keys, args)
  local p, cursor, found, seen = prefix_of(keys), '0', {}, {}
  for _ = 1, 50 do
    local page = redis.call('HSCAN', p .. 'gate', cursor, 'COUNT', 1000)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local name, count = page[2][i], tonumber(page[2][i + 1])
      if count > 1 and not seen[name] then
        seen[name] = true
        found[#found + 1] = { name, count - 1 }
      end
    end
    if cursor == '0' then
      break
    end
  end
  table.sort(found, function(a, b) return a[2] > b[2] or a[2] == b[2] and before(a[1], b[1]) end)
  local held, answer = holders(p), {}
  for i = 1, math.min(#found, tonumber(args[1])) do
    local name = found[i][1]
    local by = held[name] or { '', '', '' }
    answer[i] = { name, found[i][2], redis.call('LINDEX', p .. 'line:' .. name, 0) or '', by[1], by[2], by[3] }
  end
  return answer
end

-- hello(): the library's version, after a check that the caller may run every command that moves a job: FCALL gives
-- no rights of its own, and a refusal in the middle of a move would leave it half done.
local function hello(keys)
  local p = prefix_of(keys)
  local needs = {
    { 'xrange', keys[1], '-', '+' }, { 'xtrim', keys[1], 'MINID', '=', '0' }, { 'xdel', keys[1], '0-1' },
    { 'xlen', keys[1] }, { 'xread', 'COUNT', '1', 'STREAMS', keys[1], '0-0' }, { 'xadd', p .. 'audit', '*', 'a', 'b' },
    { 'hset', p .. 'gate', 'a', 'b' }, { 'hget', p .. 'gate', 'a' }, { 'hmget', p .. 'gate', 'a' },
    { 'hdel', p .. 'gate', 'a' }, { 'hlen', p .. 'gate' }, { 'hvals', p .. 'gate' }, { 'hkeys', p .. 'active:a' },
    { 'hgetall', p .. 'job:a' }, { 'hincrby', p .. 'job:a', 'b', '1' }, { 'del', p .. 'job:a' },
    { 'rpush', p .. 'ready', 'a' }, { 'lpop', p .. 'ready' }, { 'lrange', p .. 'ready', '0', '1' },
    { 'llen', p .. 'ready' }, { 'lindex', p .. 'line:a', '0' },
    { 'zadd', p .. 'retry', '0', 'a' }, { 'zrem', p .. 'retry', 'a' }, { 'zrange', p .. 'retry', '0', '0' },
    { 'zrangebyscore', p .. 'retry', '0', '1' }, { 'zscore', p .. 'workers', 'a' }, { 'zcard', p .. 'dead' },
    { 'expire', p .. 'reply:a', '1' }, { 'time' },
  }
  for _, need in ipairs(needs) do
    if not redis.acl_check_cmd(unpack(need)) then
      return redis.error_reply('NOPERM the worker may not ' .. string.upper(need[1]) .. ' ' .. (need[2] or ''))
    end
  end
  return VERSION
end

local function register(name, callback, flags)
  redis.register_function { function_name = 'booking_' .. name, callback = callback, flags = flags }
end

register('hello', hello, { 'no-writes' })
register('status', status, { 'no-writes' })
register('take', take, { 'allow-oom' })
register('settle', settle, { 'allow-oom' })
register('join', join, { 'allow-oom' })
register('beat', beat, { 'allow-oom' })
register('leave', leave, { 'allow-oom' })
register('dead_find', dead_find, { 'no-writes' })
register('dead_act', dead_act, { 'allow-oom' })
register('configure', configure, { 'allow-oom' })
register('dead_edit', dead_edit, { 'allow-oom' })
register('lines', lines, { 'no-writes' })
