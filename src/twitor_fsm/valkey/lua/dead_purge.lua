#!lua flags=allow-oom
-- Forgets dead tasks.
-- KEYS    dead dead_records dead_notes
-- ARGV    ids
-- Returns how many were there
-- Atomic  all of it.

local gone = redis.call('ZREM', dead, unpack(ARGV))
redis.call('HDEL', dead_records, unpack(ARGV))
redis.call('HDEL', dead_notes, unpack(ARGV))
return gone
