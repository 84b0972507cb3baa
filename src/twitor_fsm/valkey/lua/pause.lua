#!lua flags=allow-oom
-- Stops and starts the handing out of tasks, for all consumers; enqueue, acknowledgements and retries go on.
-- KEYS    levels alone bell paused
-- ARGV    1 to pause, 0 to resume
-- Returns 1 if that changed something
-- Atomic  all of it.

if ARGV[1] == '1' then
  redis.call('DEL', bell)
  return redis.call('SET', paused, 1, 'GET') and 0 or 1
end
local changed = redis.call('DEL', paused)
if redis.call('EXISTS', levels, alone) > 0 then
  ring()
end
return changed
