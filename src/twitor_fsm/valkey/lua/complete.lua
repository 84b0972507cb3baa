#!lua flags=allow-oom
-- Acknowledges tasks that are done: nothing of them is left.
-- KEYS    tasks claims leased
-- ARGV    for each task: id, token
-- Returns for each: 1 it is gone now; 0 there is no such task (any more); -1 it is there, but this token is not (or no
--         longer) the one of its lease, nothing was changed
-- Atomic  all of it. Works on a server that is out of memory.

local answers = {}
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  if is_held(id, ARGV[i + 1]) then
    redis.call('HDEL', tasks, id)
    redis.call('HDEL', claims, id)
    redis.call('ZREM', leased, id)
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = -redis.call('HEXISTS', tasks, id)
  end
end
return answers
