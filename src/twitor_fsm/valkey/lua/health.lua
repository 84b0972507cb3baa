#!lua flags=no-writes
-- Counts, and the age of the oldest waiting task.
-- KEYS    tasks leased delayed dead levels alone paused ready
-- ARGV    -
-- Returns {waiting, in flight, delayed, dead, created_ms of the oldest waiting task (0: none), now_ms, is_paused}
-- Atomic  one instant; changes nothing.

local oldest = 0
local function look_at(id)
  local record = id and redis.call('HGET', tasks, id)
  local created = record and tonumber(string.match(record, '^1 %-?%d+ %d+ (%d+) '))
  if created and (oldest == 0 or created < oldest) then
    oldest = created
  end
end

look_at(redis.call('LINDEX', alone, 0))
for _, level in ipairs(redis.call('ZRANGE', levels, 0, AT_ONCE)) do
  look_at(redis.call('LINDEX', ready .. level, 0))
end
local in_flight, later = redis.call('ZCARD', leased), redis.call('ZCARD', delayed)
local waiting = math.max(0, redis.call('HLEN', tasks) - in_flight - later)
return {waiting, in_flight, later, redis.call('ZCARD', dead), oldest, now, redis.call('EXISTS', paused)}
