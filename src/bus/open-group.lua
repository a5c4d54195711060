-- Creates the group of a connection and registers it with its node, or moves it when it exists. One step, so that no group
-- can outlive a crash unregistered, and so that whoever takes the node for dead sees all of its groups or none of this one.
--
-- KEYS[1] the sorted set of leases
-- KEYS[2] the set of the node's groups
-- KEYS[3] the channel's stream
-- KEYS[4] meta
-- ARGV[1] node
-- ARGV[2] length of a lease in milliseconds
-- ARGV[3] name of the group
-- ARGV[4] entry id: the first read answers what comes after it
-- ARGV[5] the group as a member of KEYS[2]
-- ARGV[6] the channel
--
-- Answers 1 when the node had no lease. An error NOGROUP when the log is not as far as the reader: the channel was
-- forgotten after the reader's place had been looked at, and would be counted from 1 again before his eyes.
local newest = tonumber(redis.call('HGET', KEYS[4], 'offset:' .. ARGV[6]) or '0')
if tonumber(string.match(ARGV[4], '^%d+')) > newest then
  return redis.error_reply('NOGROUP the log does not hold this place')
end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[3], ARGV[4], 'MKSTREAM')
if type(made) == 'table' and made.err then
  if not string.find(made.err, 'BUSYGROUP', 1, true) then
    return made
  end
  redis.call('XGROUP', 'SETID', KEYS[3], ARGV[3], ARGV[4])
end
redis.call('SADD', KEYS[2], ARGV[5])
-- A node that was taken for dead has no lease until it renews: should it die before, nobody would look for this group.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZADD', KEYS[1], 'NX', now + ARGV[2], ARGV[1])
