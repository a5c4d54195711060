-- Reads the log from a reader's place, and says in the same moment whether the log still holds that place.
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] the reader's offset; -1 asks for the oldest entry only
-- ARGV[4] events at most
-- ARGV[5] bytes of their data at most; one event may be larger
--
-- Answers the epoch, the log's newest offset, its proof, the proof of the reader's offset in this log, 1 when that is known
-- (it can be read on from there), and the entries: those after the offset, or else only the oldest of them that is kept.
local epoch = read_or_mint_epoch(KEYS[1], ARGV[1], ARGV[2])
local head = read_head(KEYS[1], 'log')
local offset = tonumber(ARGV[3])
local proof, is_known = '', false
if offset >= 0 and offset <= head.offset then
  proof, is_known = proof_at(KEYS[2], head, offset)
end
local from = offset < 0 and '-' or string.format('(%.0f-0', offset)
local count = is_known and fitting(KEYS[2], offset, tonumber(ARGV[4]), tonumber(ARGV[5])) or 1
local entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count)
return { epoch, head.offset, head.proof, proof, is_known and 1 or 0, entries }
