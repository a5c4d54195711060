-- Destroys the group of a connection, and the stream with it when there is nothing else in it: a channel that has had
-- readers and no events would be a key for ever.
--
-- KEYS[1] the set of the node's groups
-- KEYS[2] the channel's stream
-- ARGV[1] name of the group
-- ARGV[2] the group as a member of KEYS[1]
--
-- This fails where the stream is gone, and the group with it.
redis.pcall('XGROUP', 'DESTROY', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[1], ARGV[2])
if is_unused(KEYS[2]) then
  redis.call('UNLINK', KEYS[2])
end
return 1
