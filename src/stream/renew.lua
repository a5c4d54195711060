-- Renews a slot, unless another connection has taken it over.
--
-- KEYS[1] the user's slots, as in acquire.lua
-- ARGV[1] member
-- ARGV[2] milliseconds of the lease
--
-- Answers 1, or 0 when it was taken over.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) < 0 then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 11 * ARGV[2])
return 1
