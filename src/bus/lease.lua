-- Renews a node's lease by the clock of Redis, which all nodes share.
--
-- KEYS[1] the sorted set of leases
-- ARGV[1] member
-- ARGV[2] milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
