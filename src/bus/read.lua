-- Reads a connection's consumer group, as much as fits: never more bytes than asked for, but at least one event.
--
-- KEYS[1] the channel's stream
-- ARGV[1] group
-- ARGV[2] consumer
-- ARGV[3] offset where the group stands
-- ARGV[4] events at most
-- ARGV[5] bytes at most
--
-- Each entry knows the bytes of all the channel's events up to it, so the size of any portion is a difference. Answers
-- what XREADGROUP does, for one stream: the entries.
local stream, offset, count, budget = KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

-- The bytes of the channel's events up to an entry, and its own.
local function bytes_of(entry)
  local total, own = nil, 0
  for index = 1, #entry[2], 2 do
    if entry[2][index] == 'chain' then
      total = tonumber(string.match(entry[2][index + 1], '^%x+ %x+ (%d+)'))
    elseif entry[2][index] == 'data' then
      own = #entry[2][index + 1]
    end
  end
  return total, own
end

local function entry_at(place)
  local id = string.format('%.0f-0', place)
  return redis.call('XRANGE', stream, id, id)[1]
end

if count > 1 then
  local first = redis.call('XRANGE', stream, string.format('(%.0f-0', offset), '+', 'COUNT', 1)[1]
  local last = first and (entry_at(offset + count) or redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1])
  if first then
    local from, to = tonumber(string.match(first[1], '^%d+')), tonumber(string.match(last[1], '^%d+'))
    local total, own = bytes_of(first)
    local begin = total and total - own
    count = math.max(1, math.min(count, to - from + 1))
    -- Every size is known before a byte is sent; an entry without one was not written by us.
    while count > 1 and begin do
      local entry = entry_at(from + count - 1)
      local size = entry and bytes_of(entry)
      if size and size - begin <= budget then
        break
      end
      count = math.max(1, math.floor(size and count * budget / (size - begin) or count / 2))
    end
  end
end
local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', count, 'NOACK', 'STREAMS', stream, '>')
return answer and answer[1] and answer[1][2] or {}
