#!lua flags=no-writes
-- The tasks that are next, without taking them (turns of lower priorities are not foreseen).
-- KEYS    tasks claims levels alone ready
-- ARGV    limit
-- Returns for each: id, record, tries so far
-- Atomic  one instant; changes nothing.

local limit = tonumber(ARGV[1])
local reply = {}
local function tell(ids)
  for _, id in ipairs(ids) do
    local record = redis.call('HGET', tasks, id)
    if record then
      reply[#reply + 1] = id
      reply[#reply + 1] = record
      reply[#reply + 1] = words_of(redis.call('HGET', claims, id)) or 0
    end
  end
end

tell(redis.call('LRANGE', alone, 0, limit - 1))
for _, level in ipairs(redis.call('ZRANGE', levels, 0, -1, 'REV')) do
  if #reply >= 3 * limit then
    break
  end
  tell(redis.call('LRANGE', ready .. level, 0, limit - #reply / 3 - 1))
end
return reply
