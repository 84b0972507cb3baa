#!lua flags=allow-oom
-- One turn of a consumer: acknowledges what it has done, brings back what others lost, takes what it has room for.
-- KEYS    tasks claims leased delayed levels turns served alone bell paused ready dead dead_records dead_notes
-- ARGV    nonce, wanted, lease_ms, may_take_suspect (0/1), is_repeated (0/1), dead_cap,
--         number of acknowledgements, then for each: id, token
-- Returns {1 or 0 for each acknowledgement, ms until something is due or a lease ends (-1: nothing), is_paused,
--         then for each task: id, record, tries, token, is_suspect}
-- Atomic  all of it. Acknowledgements come first: work done just in time is not given to another.
--         Works on a server that is out of memory.

local nonce, wanted, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local may_take_suspect, is_repeated, cap = ARGV[4] == '1', ARGV[5] == '1', tonumber(ARGV[6])
local reply = {}

local function acknowledge()
  local answers = {}
  for i = 8, 7 + 2 * ARGV[7], 2 do
    local id = ARGV[i]
    if is_held(id, ARGV[i + 1]) then
      redis.call('HDEL', tasks, id)
      redis.call('HDEL', claims, id)
      redis.call('ZREM', leased, id)
      answers[#answers + 1] = 1
    else
      answers[#answers + 1] = 0
    end
  end
  return answers
end

-- Leases that ended: dead letters, or waiting again, in front. A task that may be what killed its workers is a suspect:
-- it is tried alone, so that it takes no other with it to the dead letters.
local function reclaim()
  local ids = redis.call('ZRANGE', leased, '-inf', now, 'BYSCORE', 'LIMIT', 0, AT_ONCE)
  for i = #ids, 1, -1 do
    local id = ids[i]
    local tries, token, priority, max, _, first, last = words_of(redis.call('HGET', claims, id))
    redis.call('ZREM', leased, id)
    if not tries then
      redis.call('HDEL', claims, id)
    elseif tries > max then
      bury(id, redis.call('HGET', tasks, id) or '', 'lease_expired', tries, token, first, last, cap)
    else
      redis.call('HSET', claims, id, claim_of(tries, token, priority, max, '-', first, last))
      if tries >= 2 or max - tries < 2 then
        redis.call('LPUSH', alone, id)
      else
        make_ready(priority, {id}, true)
      end
    end
  end
  return #ids > 0
end

local function promote()
  local due = redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, AT_ONCE)
  local by_level = {}
  for _, member in ipairs(due) do
    local priority, id = string.match(member, '^(%-?%d+) (.*)$')
    by_level[priority] = by_level[priority] or {}
    table.insert(by_level[priority], id)
  end
  for priority, ids in pairs(by_level) do
    make_ready(priority, ids)
  end
  if #due > 0 then
    in_chunks(due, 'ZREM', delayed)
  end
end

local function after_serving(level, count)
  redis.call('INCRBY', served, count)
  if redis.call('EXISTS', ready .. level) == 0 then
    redis.call('ZREM', levels, level)
    redis.call('ZREM', turns, level)
    if redis.call('EXISTS', levels) == 0 then
      redis.call('DEL', served)
    end
  else
    redis.call('ZADD', turns, redis.call('GET', served) + LEVEL_GUARD, level)
  end
end

-- The next ids: the highest priority first, but the one that was passed over LEVEL_GUARD times gets a turn.
local function next_ids(limit)
  local level = redis.call('ZRANGE', levels, 0, 0, 'REV')[1]
  if not level then
    return {}
  end
  local longest = redis.call('ZRANGE', turns, 0, 1, 'WITHSCORES')
  local other, turn = longest[1], longest[2]
  if other == level then
    other, turn = longest[3], longest[4]
  end
  local left = other and turn - (redis.call('GET', served) or 0) or limit
  if left <= 0 then
    level, limit = other, 1
  else
    limit = math.min(limit, left)
  end
  local ids = redis.call('LPOP', ready .. level, limit) or {}
  after_serving(level, #ids)
  return ids
end

-- Leases the ids to the caller; a record that cannot be read, or a task without tries left, goes to the dead letters.
local function take(ids, is_suspect)
  local records, histories = redis.call('HMGET', tasks, unpack(ids)), redis.call('HMGET', claims, unpack(ids))
  local leases, entries = {}, {}
  for i, id in ipairs(ids) do
    local record = records[i]
    local tries, token, priority, max, _, first, last = words_of(histories[i])
    if record and not tries then
      priority, max = string.match(record, '^1 (%-?%d+) (%d+) %d+ ')
      tries, token, first, last = 0, 0, '-', '-'
    end
    if record and not max then
      bury(id, record, 'malformed', 0, 0, '-', '-', cap)
    elseif record and tries > tonumber(max) then
      bury(id, record, 'lease_expired', tries, token, first, last, cap)
    elseif record then
      tries, token = tries + 1, math.max(now_us, token + 1)
      leases[#leases + 1] = whole(now + lease_ms)
      leases[#leases + 1] = id
      entries[#entries + 1] = id
      entries[#entries + 1] = claim_of(tries, token, priority, max, nonce, first, last)
      for _, value in ipairs({id, record, tries, whole(token), is_suspect and 1 or 0}) do
        reply[#reply + 1] = value
      end
    end
  end
  if #leases > 0 then
    redis.call('ZADD', leased, unpack(leases))
    redis.call('HSET', claims, unpack(entries))
  end
  return #leases / 2
end

-- The answer to this claim was lost: what it had taken is given again.
local function taken_before()
  local found = 0
  for _, id in ipairs(redis.call('ZRANGE', leased, 0, -1)) do
    local tries, token, _, _, by = words_of(redis.call('HGET', claims, id))
    local record = by == nonce and redis.call('HGET', tasks, id)
    if record then
      found = found + 1
      for _, value in ipairs({id, record, tries, whole(token), 0}) do
        reply[#reply + 1] = value
      end
    end
  end
  return found
end

local function ms_until_due()
  local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
  local ends = redis.call('ZRANGE', leased, 0, 0, 'WITHSCORES')[2]
  local first = math.min(tonumber(due or math.huge), tonumber(ends or math.huge))
  return first == math.huge and -1 or math.max(0, first - now)
end

local answers = acknowledge()
local is_paused = redis.call('EXISTS', paused)
local has_suspects = reclaim()
promote()
local taken = is_repeated and taken_before() or 0
if is_paused == 0 and taken == 0 then
  local suspect = wanted > 0 and may_take_suspect and redis.call('LPOP', alone)
  if suspect then
    taken = take({suspect}, true)
    has_suspects = true
  end
  while taken < wanted do
    local ids = next_ids(wanted - taken)
    if #ids == 0 then
      break
    end
    taken = taken + take(ids, false)
  end
end
if redis.call('EXISTS', levels) == 1 or (has_suspects and redis.call('EXISTS', alone) == 1) then
  ring()
else
  redis.call('DEL', bell)
end
return {answers, ms_until_due(), is_paused, unpack(reply)}
