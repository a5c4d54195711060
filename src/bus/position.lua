-- Where a channel stands, and what it says of a reader's place. One atomic view of both.
--
-- KEYS[1] meta
-- KEYS[2] the channel's stream
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] the channel
-- ARGV[4] the reader's offset, or an empty string
--
-- Answers the epoch, the channel's newest offset, its proof, the newest database revision among its events, 1 when the
-- event after the reader's offset is still kept, and the proof of the reader's offset in this log (empty: not known).
local epoch = read_or_mint_epoch(KEYS[1], ARGV[1], ARGV[2])
local head = read_head(KEYS[1], ARGV[3])
local revision = redis.call('HGET', KEYS[1], 'revision:' .. ARGV[3]) or '0'
local next_kept, proof = 0, ''
if ARGV[4] ~= '' then
  local is_known
  proof, is_known = proof_at(KEYS[2], head, tonumber(ARGV[4]))
  if is_known and tonumber(ARGV[4]) < head.offset then
    next_kept = 1
  end
end
return { epoch, head.offset, head.proof, revision, next_kept, proof }
