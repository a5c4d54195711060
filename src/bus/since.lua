-- Where the log stood at a time: the place behind the newest event that was published before it, by bisection. Times of
-- publication rise with offsets, which those of events need not: what waited in an outbox is told late.
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] seconds since the epoch; negative: so long ago, by the clock of Redis; 0: all that is kept
-- ARGV[4] bytes of events that are looked at before the rest is left for the next call
-- ARGV[5] an offset that is before the time, and
-- ARGV[6] one that is not: where the last call stopped; empty at first
--
-- Answers the epoch, the offset and its proof; or, where it is not done, the epoch and the two offsets to go on with, and 1.
-- A place whose next event is not kept says that history begins later than the time.
local meta, log = KEYS[1], KEYS[2]
local epoch = read_or_mint_epoch(meta, ARGV[1], ARGV[2])
local head = read_head(meta, 'log')
local since = tonumber(ARGV[3])
if since < 0 then
  local time = redis.call('TIME')
  since = time[1] + time[2] / 1000000 + since
end

local function offset_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- It stands in a field of its own, or in the chain behind the epoch. Entries of an earlier version do not say when they were
-- published, but when they happened.
local function is_before(entry)
  local published, data, chain
  for index = 1, #entry[2], 2 do
    if entry[2][index] == 'published' then
      published = entry[2][index + 1]
    elseif entry[2][index] == 'data' then
      data = entry[2][index + 1]
    elseif entry[2][index] == 'chain' then
      chain = entry[2][index + 1]
    end
  end
  published = published or chain and string.match(chain, '^%x+ %x+ %d+ %d+ %S+ %S+ %S+ (%d+%.%d+)')
  local happened = not published and data
    and string.match(string.sub(data, 1, 16384), ',"ts":(%-?%d[%d.eE+-]*),"payload":')
  return (tonumber(published or happened or '') or 0) < since, #(data or '')
end

local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
local first_kept = first and offset_of(first) or head.offset + 1
local before = math.max(tonumber(ARGV[5]) or 0, first_kept - 1)
local after = tonumber(ARGV[6]) or head.offset + 1
local bytes = 0
while after - before > 1 do
  if bytes >= tonumber(ARGV[4]) then
    return { epoch, string.format('%.0f', before), string.format('%.0f', after), 1 }
  end
  local middle = math.floor((before + after) / 2)
  local entry = redis.call('XRANGE', log, string.format('%.0f-0', middle), '+', 'COUNT', 1)[1]
  local is_earlier, size = false, 0
  if entry and offset_of(entry) < after then
    is_earlier, size = is_before(entry)
  end
  bytes = bytes + size
  if is_earlier then
    before = offset_of(entry)
  else
    after = middle
  end
end
-- All that is kept came later, and something before it is not kept: nobody knows whether that came later, too.
if before < first_kept and first_kept > 1 and since ~= 0 then
  return { epoch, string.format('%.0f', math.max(first_kept - 2, 0)), '0' }
end
return { epoch, string.format('%.0f', before), (proof_at(log, head, before)) }
