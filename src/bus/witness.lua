-- Is this the log that the database knows? If it lost what the database knows to be published, its epoch is rotated, so
-- that every client is reset: no cursor of before is honoured again, on any channel. The streams stay, and what they
-- hold is read on under the new epoch.
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- ARGV[1] epoch to use if one must be minted, or if it is rotated
-- ARGV[2] pattern of all streams
-- ARGV[3] term of the relay that asks
-- ARGV[4] epoch of the witness; empty when there is none
-- ARGV[5] its offset in the log
-- ARGV[6] its proof
-- ARGV[7…] epochs that the database has known before
--
-- Answers the epoch, the log's newest offset, its proof, and 1 when the epoch was rotated.
local meta = KEYS[1]
local epoch = read_or_mint_epoch(meta, ARGV[1], ARGV[2])
local leader = newer_term(meta, ARGV[3])
if leader then
  return redis.error_reply('FENCED ' .. leader)
end
local head = read_head(meta, 'log')
local is_lost = false
if epoch == ARGV[4] then
  is_lost = not holds(meta, KEYS[2], head, tonumber(ARGV[5]), ARGV[6])
else
  -- An epoch of long ago: a backup. One that nobody knows has just been minted, and nobody has cursors of before it.
  for index = 7, #ARGV do
    is_lost = is_lost or ARGV[index] == epoch
  end
end
if is_lost then
  redis.call('HSETNX', meta, 'life', epoch)
  epoch = ARGV[1]
  redis.call('HSET', meta, 'epoch', epoch)
end
redis.call('HSET', meta, 'witnessed', string.format('%.0f', head.offset))
return { epoch, head.offset, head.proof, is_lost and 1 or 0 }
