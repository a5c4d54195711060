-- Destroys consumer groups of one node, some at a time so that Redis is never held up. Whether the node's lease has ended is
-- asked again in the same step: a node that has renewed since it was found dead keeps what it has.
--
-- KEYS[1] the sorted set of leases
-- KEYS[2] the set of the node's groups, each `<group> <channel>`
-- ARGV[1] node
-- ARGV[2] 'expired': only while the lease has ended; 'retired': in any case, the node itself asks
-- ARGV[3] how many groups at most
-- ARGV[4] what the keys of channel streams begin with; they have the hash tag of KEYS
--
-- Answers how many groups were destroyed and how many are left, or an empty list when the node lives.
if ARGV[2] == 'expired' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if ends and tonumber(ends) > now then
    return {}
  end
end
local groups = redis.call('SPOP', KEYS[2], ARGV[3])
for _, group in ipairs(groups) do
  -- A topic may hold any character but white space, so the first space ends the group's name.
  local space = string.find(group, ' ', 1, true)
  local stream = ARGV[4] .. string.sub(group, space + 1)
  -- This fails where the stream is gone, and the group with it.
  redis.pcall('XGROUP', 'DESTROY', stream, string.sub(group, 1, space - 1))
  if is_unused(stream) then
    redis.call('UNLINK', stream)
  end
end
local left = redis.call('SCARD', KEYS[2])
if left == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return { #groups, left }
