#!lua flags=allow-oom
-- A try has failed: the task waits for its next one, or goes to the dead letters when it has none left.
-- KEYS    tasks claims leased delayed bell paused dead dead_records dead_notes
-- ARGV    id, token, delay_ms, error (one word), dead_cap, is_final (0/1), reason of a burial,
--         record and claim to put back if the task was acknowledged meanwhile ('' for none)
-- Returns 1 it will be tried again; 0 it is in the dead letters; -1 another has it; -2 it is gone; then nothing was changed
-- Atomic  the end of the lease and the new place. May be repeated: the same token gets the same answer.
--         Works on a server that is out of memory.

local id, token, delay, failure = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local record = redis.call('HGET', tasks, id)

-- Whether an earlier call with this token buried it; a dead letter of this id may also be an older task's.
local function is_buried()
  local buried = string.match(redis.call('HGET', dead_notes, id) or '', '^%S+ %d+ (%d+) ')
  return tonumber(buried) == token
end

if not record and ARGV[8] ~= '' and not is_buried() then
  record = ARGV[8]
  redis.call('HSET', tasks, id, record)
  redis.call('HSET', claims, id, ARGV[9])
  redis.call('ZADD', leased, now, id)
end

local tries, current, priority, max, _, first, last = words_of(redis.call('HGET', claims, id))
if not record or current ~= token then
  return is_buried() and 0 or record and -1 or -2
end
if redis.call('ZREM', leased, id) == 0 then
  return 1 -- done by an earlier call whose answer was lost, or its lease ended
end
first = first == '-' and failure or first
if ARGV[6] == '1' or tries > max then
  bury(id, record, ARGV[7], tries, token, first, failure, tonumber(ARGV[5]))
  return 0
end
redis.call('HSET', claims, id, claim_of(tries, token, priority, max, '-', first, failure))
local due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', delayed, now + delay, priority .. ' ' .. id)
if not due or now + delay < tonumber(due) then
  ring()
end
return 1
