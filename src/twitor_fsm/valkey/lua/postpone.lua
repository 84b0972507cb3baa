#!lua flags=allow-oom
-- Puts a task off without using up a try: it has done what it could for now, and needs no worker until then.
-- KEYS    claims leased delayed bell paused
-- ARGV    id, token, delay_ms
-- Returns 1 it waits; 0 the token is stale, nothing was changed
-- Atomic  the end of the lease and the new place. May be repeated. Works on a server that is out of memory.

local id, token, delay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local tries, current, priority, max = words_of(redis.call('HGET', claims, id))
if current ~= token then
  return 0
end
if redis.call('ZREM', leased, id) == 1 then
  redis.call('HSET', claims, id, claim_of(0, current, priority, max, '-', '-', '-'))
  local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
  redis.call('ZADD', delayed, now + delay, priority .. ' ' .. id)
  if not due or now + delay < tonumber(due) then
    ring()
  end
end
return 1
