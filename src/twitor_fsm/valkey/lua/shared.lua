-- What the scripts of this folder have in common; the loader puts it, without comments, before each of them.
--
-- A task's record (hash `tasks`, by id) never changes:   1 PRIORITY MAX_RETRIES CREATED_MS BODY
-- What has happened to it (hash `claims`, by id) is there from its first claim on:
--   TRIES TOKEN PRIORITY MAX_RETRIES NONCE FIRST_ERROR LAST_ERROR      (words; "-" is none)
-- TRIES counts claims; TOKEN rises with each claim of the task, so that an old one is told from the current one.
-- Waiting ids are in one list for each priority (`ready` .. PRIORITY), suspects in `alone`, later ones in `delayed`.

local LEVEL_GUARD = 100 -- a lower priority is passed over at most this many times, then it gets one turn
local AT_ONCE = 1000    -- bound of the work that one call does for others (reclaim, promote)

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

local function in_chunks(list, command, ...)
  local head = {...}
  for from = 1, #list, 4000 do
    local part = {unpack(head)}
    for i = from, math.min(from + 3999, #list) do
      part[#part + 1] = list[i]
    end
    redis.call(command, unpack(part))
  end
end

local function words_of(claim)
  local tries, token, priority, max, nonce, first, last =
    string.match(claim or '', '^(%d+) (%d+) (%-?%d+) (%d+) (%S+) (%S+) (%S+)$')
  return tonumber(tries), tonumber(token), priority, tonumber(max), nonce, first, last
end

local function claim_of(tries, token, priority, max, nonce, first, last)
  return tries .. ' ' .. whole(token) .. ' ' .. priority .. ' ' .. max .. ' ' .. nonce .. ' ' .. first .. ' ' .. last
end

-- Rings the bell for one waiting consumer, unless it rings already or the queue is paused.
local function ring()
  if redis.call('EXISTS', bell, paused) == 0 then
    redis.call('RPUSH', bell, 1)
  end
end

-- Puts ids into the list of their priority, at its end or (in the given order) at its head.
local function make_ready(priority, ids, at_head)
  if at_head then
    for i = #ids, 1, -1 do
      redis.call('LPUSH', ready .. priority, ids[i])
    end
  else
    in_chunks(ids, 'RPUSH', ready .. priority)
  end
  if redis.call('ZADD', levels, 'NX', priority, priority) == 1 then
    redis.call('ZADD', turns, (redis.call('GET', served) or 0) + LEVEL_GUARD, priority)
  end
end

-- Moves a task to the dead letters, its record byte by byte as it was.
local function bury(id, record, reason, tries, token, first, last, cap)
  redis.call('HSET', dead_records, id, record)
  redis.call('HSET', dead_notes, id, reason .. ' ' .. tries .. ' ' .. whole(token) .. ' ' .. first .. ' ' .. last)
  redis.call('ZADD', dead, now, id)
  redis.call('HDEL', tasks, id)
  redis.call('HDEL', claims, id)
  local over = redis.call('ZCARD', dead) - cap
  if cap > 0 and over > 0 then
    local popped = redis.call('ZPOPMIN', dead, over)
    for i = 1, #popped, 2 do
      redis.call('HDEL', dead_records, popped[i])
      redis.call('HDEL', dead_notes, popped[i])
    end
  end
end

-- Whether this token is the one of the task's lease.
local function is_held(id, token)
  local _, current = words_of(redis.call('HGET', claims, id))
  return current == tonumber(token) and redis.call('ZSCORE', leased, id) ~= false
end
