#!lua flags=allow-oom
-- Renews leases.
-- KEYS    claims leased
-- ARGV    lease_ms, then for each task: id, token
-- Returns for each: 1 renewed; 0 lost (the lease ended and the task was taken back, or it is done)
-- Atomic  all of it.

local answers = {}
for i = 2, #ARGV, 2 do
  if is_held(ARGV[i], ARGV[i + 1]) then
    redis.call('ZADD', leased, 'XX', now + tonumber(ARGV[1]), ARGV[i])
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
