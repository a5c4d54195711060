-- Takes one of a user's slots for an open stream.
--
-- KEYS[1] the user's slots: member → when its lease ends; below zero: minus the time when it was taken over
-- ARGV[1] member
-- ARGV[2] milliseconds of the lease
-- ARGV[3] how many slots there are
-- ARGV[4] prefix of the members that may be taken over, or an empty string
--
-- Answers 1 when granted, 0 when there is no slot.
local slots, lease = KEYS[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- What has ended is kept for a while: an owner that could not renew while Redis was away may still do so.
local long_ago = now - 10 * lease
redis.call('ZREMRANGEBYSCORE', slots, 0, long_ago)
redis.call('ZREMRANGEBYSCORE', slots, -long_ago, '(0')
if redis.call('ZCOUNT', slots, now, '+inf') >= tonumber(ARGV[3]) then
  if ARGV[4] == '' then
    return 0
  end
  -- Members of one stream differ first in their start: the smallest is the oldest.
  local oldest
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', slots, now, '+inf')) do
    if string.sub(member, 1, #ARGV[4]) == ARGV[4] and (not oldest or member < oldest) then
      oldest = member
    end
  end
  if not oldest then
    return 0
  end
  redis.call('ZADD', slots, -now, oldest)
end
redis.call('ZADD', slots, now + lease, ARGV[1])
-- The key of a user who has gone goes too.
redis.call('PEXPIRE', slots, 11 * lease)
return 1
