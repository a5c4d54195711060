-- The members of a sorted set of leases whose lease has ended by the clock of Redis.
--
-- KEYS[1] the sorted set of leases
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
