-- Where a channel stands, and whether a reader can continue from an offset. One atomic view of both.
--
-- KEYS[1] meta
-- KEYS[2] the channel's stream
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] the channel
-- ARGV[4] the reader's offset, or an empty string
--
-- Answers the epoch, the channel's newest offset, and 1 when the event after the reader's offset is still kept.
local epoch = read_or_mint_epoch(KEYS[1], ARGV[1], ARGV[2])
local offset = tonumber(redis.call('HGET', KEYS[1], 'offset:' .. ARGV[3]) or '0')
local next_kept = 0
if ARGV[4] ~= '' then
  local next_id = string.format('%.0f-0', tonumber(ARGV[4]) + 1)
  next_kept = #redis.call('XRANGE', KEYS[2], next_id, next_id)
end
return { epoch, offset, next_kept }
