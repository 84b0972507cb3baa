#!lua flags=allow-oom
-- Gives tasks back as they were, in front of their priority: their consumer stops.
-- KEYS    tasks claims leased levels turns served bell paused ready
-- ARGV    counts (1: the try counts, 0: it does not), then for each task: id, token
-- Returns how many were given back; a stale token changes nothing
-- Atomic  all of it. Works on a server that is out of memory.

local given_back = 0
for i = #ARGV - 1, 2, -2 do
  local id, token = ARGV[i], ARGV[i + 1]
  if is_held(id, token) then
    local tries, current, priority, max, _, first, last = words_of(redis.call('HGET', claims, id))
    redis.call('ZREM', leased, id)
    redis.call('HSET', claims, id, claim_of(tries - 1 + ARGV[1], current, priority, max, '-', first, last))
    make_ready(priority, {id}, true)
    given_back = given_back + 1
  end
end
if given_back > 0 then
  ring()
end
return given_back
