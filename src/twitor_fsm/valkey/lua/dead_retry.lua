#!lua flags=allow-oom
-- Gives dead tasks all their tries again.
-- KEYS    tasks levels turns served bell paused ready dead dead_records dead_notes
-- ARGV    ids
-- Returns how many wait again; one whose record cannot be read, or whose id waits or runs already, stays dead
-- Atomic  all of it.

local revived = 0
for _, id in ipairs(ARGV) do
  local record = redis.call('HGET', dead_records, id)
  local priority = record and string.match(record, '^1 (%-?%d+) %d+ %d+ ')
  if priority and redis.call('HSETNX', tasks, id, record) == 1 then
    redis.call('ZREM', dead, id)
    redis.call('HDEL', dead_records, id)
    redis.call('HDEL', dead_notes, id)
    make_ready(priority, {id})
    revived = revived + 1
  end
end
if revived > 0 then
  ring()
end
return revived
