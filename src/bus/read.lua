-- Reads a connection's consumer group, as much as fits: never more bytes than asked for, but at least one event.
--
-- KEYS[1] the channel's stream
-- ARGV[1] group
-- ARGV[2] consumer
-- ARGV[3] offset where the group stands
-- ARGV[4] events at most
-- ARGV[5] bytes at most
--
-- Answers what XREADGROUP does, for one stream: the entries.
local count = fitting(KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]))
local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'NOACK', 'STREAMS', KEYS[1], '>')
return answer and answer[1] and answer[1][2] or {}
