-- Renews slots of one user, except those that another connection has taken over.
--
-- KEYS[1] the user's slots, as in acquire.lua
-- ARGV[1] milliseconds of the lease
-- ARGV[2…] members
--
-- Answers the members that were taken over.
local slots, lease = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken_over = {}
for index = 2, #ARGV do
  local score = redis.call('ZSCORE', slots, ARGV[index])
  if score and tonumber(score) < 0 then
    taken_over[#taken_over + 1] = ARGV[index]
  else
    redis.call('ZADD', slots, now + lease, ARGV[index])
  end
end
redis.call('PEXPIRE', slots, 11 * lease)
return taken_over
