-- Renews a node's lease by the clock of Redis, which all nodes share.
--
-- KEYS[1] the sorted set of leases
-- ARGV[1] member
-- ARGV[2] milliseconds
--
-- Answers 1 when the lease had ended or was not there.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return (ends and tonumber(ends) > now) and 0 or 1
