#!lua
-- Adds tasks; an id that waits or runs already is left alone, so that the call may be repeated.
-- KEYS    tasks delayed leased levels turns served bell paused ready
-- ARGV    max_size (0: no bound), then for each task: id, priority, max_retries, delay_ms, body
-- Returns how many were new; or -1 (nothing was added) when they do not fit
-- Atomic  the check of the size and the adding of all. Refused by a server that is out of memory.

local function has_room(max_size)
  local new = 0
  for i = 2, #ARGV, 5 do
    new = new + 1 - redis.call('HEXISTS', tasks, ARGV[i])
  end
  return new == 0 or redis.call('HLEN', tasks) - redis.call('ZCARD', leased) + new <= max_size
end

local max_size = tonumber(ARGV[1])
if max_size > 0 and not has_room(max_size) then
  return -1
end

local added = 0
local by_level = {}
local first_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
local is_sooner = false
for i = 2, #ARGV, 5 do
  local id, priority, delay = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 3])
  local record = '1 ' .. priority .. ' ' .. ARGV[i + 2] .. ' ' .. whole(now) .. ' ' .. ARGV[i + 4]
  if redis.call('HSETNX', tasks, id, record) == 1 then
    added = added + 1
    if delay > 0 then
      redis.call('ZADD', delayed, now + delay, priority .. ' ' .. id)
      is_sooner = is_sooner or not first_due or now + delay < tonumber(first_due)
    else
      by_level[priority] = by_level[priority] or {}
      table.insert(by_level[priority], id)
    end
  end
end
for priority, ids in pairs(by_level) do
  make_ready(priority, ids)
end
if is_sooner or next(by_level) then -- a sooner due time is news for those who wait for a later one
  ring()
end
return added
