-- Called for each new connection to Redis by the node that reads the log: is this still the server that numbered it?
--
-- KEYS[1] meta
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] run id of the server that answers
-- ARGV[4] 1 when that server may have lost acknowledged events
-- ARGV[5] epoch that the caller reads
-- ARGV[6] newest log offset that the caller has seen
--
-- A server with another run id that may have lost acknowledged events, and one that is behind what a reader has already
-- seen, would hand out offsets a second time: the epoch is rotated, so that no cursor of before is mistaken. The streams
-- stay; what they hold is read on under the new epoch.
--
-- Answers the epoch and the log's newest offset.
local meta = KEYS[1]
local epoch = read_or_mint_epoch(meta, ARGV[1], ARGV[2])
local log_offset = tonumber(redis.call('HGET', meta, 'offset:log') or '0')
local server = redis.call('HGET', meta, 'server')
local replaced = server and server ~= ARGV[3] and ARGV[4] == '1'
local behind = epoch == ARGV[5] and log_offset < tonumber(ARGV[6])
if replaced or behind then
  epoch = ARGV[1]
  redis.call('HSET', meta, 'epoch', epoch)
end
redis.call('HSET', meta, 'server', ARGV[3])
return { epoch, log_offset }
