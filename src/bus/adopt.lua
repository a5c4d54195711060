-- Called for each new connection to Redis by the node that reads the log: is this still the server that numbered it?
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] run id of the server that answers
-- ARGV[4] what another run id means: 'kept' all acknowledged events are there, 'unsure' the newest may be missing,
--         'lost' they must be taken for missing
-- ARGV[5] epoch that the caller reads; empty when it has read nothing
-- ARGV[6] newest log offset that the caller has seen
-- ARGV[7] event id that it saw there; empty when it saw none
--
-- A server that lost acknowledged events hands out their offsets a second time. Then the epoch is rotated, so that no
-- cursor of before is mistaken; the streams stay, and what they hold is read on under the new epoch. When in doubt what
-- the caller has seen decides: the same event in its place means that nothing visible is missing.
--
-- Answers the epoch and the log's newest offset.
local meta, log = KEYS[1], KEYS[2]
local epoch = read_or_mint_epoch(meta, ARGV[1], ARGV[2])
local log_offset = tonumber(redis.call('HGET', meta, 'offset:log') or '0')
local server = redis.call('HGET', meta, 'server')
local is_new = server and server ~= ARGV[3]
local seen_offset, seen_id = tonumber(ARGV[6]), ARGV[7]
local has_memory = epoch == ARGV[5] and seen_id ~= ''
local is_contradicted = epoch == ARGV[5] and log_offset < seen_offset
if has_memory and not is_contradicted then
  local found = redis.call('XRANGE', log, ARGV[6] .. '-0', ARGV[6] .. '-0')[1]
  if found then
    is_contradicted = found[2][2] ~= seen_id
  else
    -- Trimmed: it no longer tells anything.
    has_memory = false
  end
end
if is_contradicted or (is_new and (ARGV[4] == 'lost' or (ARGV[4] == 'unsure' and not has_memory))) then
  epoch = ARGV[1]
  redis.call('HSET', meta, 'epoch', epoch)
end
redis.call('HSET', meta, 'server', ARGV[3])
return { epoch, log_offset }
