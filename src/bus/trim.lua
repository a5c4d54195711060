-- Trims channels by age and by bytes, and forgets those of topologies that have nothing left: a bounded part of the walk
-- over all channels, so that nobody else waits for more than a few milliseconds.
--
-- KEYS[1] meta
-- KEYS[2] the lock of whoever cleans up
-- ARGV[1] its holder; a holder that has lost it does nothing
-- ARGV[2] milliseconds for which the lock is renewed
-- ARGV[3] what the keys of channel streams begin with; they have the hash tag of KEYS
-- ARGV[4] seconds; an event that happened before is too old. Empty: none is, and nothing is forgotten
-- ARGV[5] bytes of events that a channel keeps; 0: any number
-- ARGV[6] entries, and
-- ARGV[7] bytes of them, that are looked at before the rest is left for the next call
-- ARGV[8] where the scan of meta goes on; empty: only the channels that are named
-- ARGV[9] fields of meta that are looked at
-- ARGV[10] what a channel that may be forgotten begins with
-- ARGV[11…] channels that come first
--
-- Answers an empty list when the lock was lost. Otherwise where the scan goes on (empty: it is done), how many entries
-- were trimmed, how many channels forgotten, and the names of those that were not finished.
local meta, lock = KEYS[1], KEYS[2]
if redis.call('GET', lock) ~= ARGV[1] then
  return {}
end
redis.call('PEXPIRE', lock, ARGV[2])
local too_old, most_kept = tonumber(ARGV[4]), tonumber(ARGV[5])
local most_entries, most_bytes = tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local entries, bytes, trimmed, forgotten = 0, 0, 0, 0

-- The time of an event stands before its payload, and inside a JSON string no quote stands without a backslash: the first
-- match is the envelope's. Looked for where topic and type can end at the latest; decoding would cost a hundred times as
-- much. A time that is still to come tells nothing.
local function time_of(data)
  local seconds = tonumber(string.match(string.sub(data, 1, 16384), ',"ts":(%-?%d[%d.eE+-]*),"payload":') or '')
  return seconds and seconds <= now and seconds or nil
end

-- True: nobody is to have this entry any more. False: this one and all after it stay. nil: it does not tell, because
-- somebody else wrote it; what comes after it decides.
local function is_surplus(channel, id, fields, total)
  local data, chain
  for index = 1, #fields, 2 do
    if fields[index] == 'data' then
      data = fields[index + 1]
    elseif fields[index] == 'chain' then
      chain = fields[index + 1]
    end
  end
  if not data then
    return nil
  end
  bytes = bytes + #data
  local up_to_here = chain and tonumber(string.match(chain, '^%x+ %x+ (%d+)'))
  -- The newest event stays, however large.
  if most_kept > 0 and up_to_here and total - up_to_here + #data > most_kept
    and string.match(id, '^%d+') ~= redis.call('HGET', meta, 'offset:' .. channel) then
    return true
  end
  local happened = too_old and time_of(data)
  if happened then
    return happened < too_old
  end
  if not too_old and up_to_here then
    return false
  end
  return nil
end

-- Looks at the entries one after the other, oldest first: times need not be in order (what waited in an outbox is told
-- late), and what is trimmed has been seen to be surplus, or stands before what has. An entry is looked at once before it
-- goes, which costs less than it cost to publish it. `total` is that of the bytes of all the channel's events. Answers
-- false when the call's share was used up first, and whether anything was trimmed.
local function trim(channel, total)
  if not too_old and total <= most_kept then
    return true
  end
  local stream = ARGV[3] .. channel
  local from, surplus, is_done, is_empty = '-', nil, false, false
  while entries < most_entries and bytes < most_bytes do
    local entry = redis.pcall('XRANGE', stream, from, '+', 'COUNT', 1)
    -- Not a stream: not ours.
    if entry.err then
      return true
    end
    entries = entries + 1
    entry = entry[1]
    if not entry then
      is_done, is_empty = true, true
      break
    end
    local verdict = is_surplus(channel, entry[1], entry[2], total)
    if verdict == false then
      is_done = true
      break
    elseif verdict then
      surplus = entry[1]
    end
    from = '(' .. entry[1]
  end
  if surplus then
    local offset, sequence = string.match(surplus, '^(%d+)-(%d+)$')
    local first_kept = offset .. '-' .. string.format('%.0f', tonumber(sequence) + 1)
    trimmed = trimmed + redis.call('XTRIM', stream, 'MINID', first_kept)
  end
  -- Only times empty a stream. With nobody who waits for its next event, its numbers mean something only to cursors; those
  -- find it further back than they are, and are reset. All but that of number 0, which every new channel has: the proof of
  -- that place is another one from here on, unless it has been changed since the last of these events.
  if is_empty and too_old and string.sub(channel, 1, #ARGV[10]) == ARGV[10] and is_unused(stream) then
    if tonumber(redis.call('HGET', meta, 'rooted') or '0') < too_old then
      local root = string.sub(redis.sha1hex(redis.call('HGET', meta, 'epoch') .. channel .. now), 1, 8)
      redis.call('HSET', meta, 'root', root, 'rooted', math.floor(now))
    end
    redis.call('UNLINK', stream)
    redis.call('HDEL', meta, 'offset:' .. channel, 'proof:' .. channel, 'bytes:' .. channel, 'revision:' .. channel)
    forgotten = forgotten + 1
  end
  return is_done, surplus ~= nil
end

local left = {}
local function trim_each(channels, totals)
  for index, channel in ipairs(channels) do
    local is_first = entries == 0
    if entries >= most_entries or bytes >= most_bytes then
      left[#left + 1] = channel
    else
      local is_done, has_progress = trim(channel, totals[index])
      -- With a whole call for itself and nothing to trim it will not have more the next time.
      if not is_done and (has_progress or not is_first) then
        left[#left + 1] = channel
      end
    end
  end
end

local named, totals = {}, {}
for index = 11, #ARGV do
  local total = redis.call('HGET', meta, 'bytes:' .. ARGV[index])
  -- Forgotten meanwhile, or never there.
  if total then
    named[#named + 1], totals[#totals + 1] = ARGV[index], tonumber(total)
  end
end
trim_each(named, totals)
local scan = ARGV[8]
if scan ~= '' and #left == 0 then
  local portion = redis.call('HSCAN', meta, scan, 'MATCH', 'bytes:*', 'COUNT', ARGV[9])
  scan = portion[1] == '0' and '' or portion[1]
  named, totals = {}, {}
  for index = 1, #portion[2], 2 do
    named[#named + 1] = string.sub(portion[2][index], #'bytes:' + 1)
    totals[#totals + 1] = tonumber(portion[2][index + 1])
  end
  trim_each(named, totals)
end
local answer = { scan, trimmed, forgotten }
for _, channel in ipairs(left) do
  answer[#answer + 1] = channel
end
return answer
