-- Prepended to the scripts that read a portion of a stream.
--
-- Each entry knows the bytes of all the channel's events up to it, so the size of any portion is a difference.

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

local function entry_at(stream, place)
  local id = string.format('%.0f-0', place)
  return redis.call('XRANGE', stream, id, id)[1]
end

-- How many events after an offset, `count` at most, have no more than `budget` bytes together; one at least.
local function fitting(stream, offset, count, budget)
  if count > 1 then
    local first = redis.call('XRANGE', stream, string.format('(%.0f-0', offset), '+', 'COUNT', 1)[1]
    local last = first and (entry_at(stream, offset + count) or redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1])
    if first then
      local from, to = tonumber(string.match(first[1], '^%d+')), tonumber(string.match(last[1], '^%d+'))
      local total, own = bytes_of(first)
      local begin = total and total - own
      count = math.max(1, math.min(count, to - from + 1))
      -- Every size is known before a byte is sent; an entry without one was not written by us.
      while count > 1 and begin do
        local entry = entry_at(stream, from + count - 1)
        local size = entry and bytes_of(entry)
        if size and size - begin <= budget then
          break
        end
        count = math.max(1, math.floor(size and count * budget / (size - begin) or count / 2))
      end
    end
  end
  return count
end
