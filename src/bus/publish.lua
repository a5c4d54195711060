-- Publishes events in order: numbers each one in its channels and in the log, once.
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- KEYS[3…] for each event: its published key, then the stream of each of its channels, then the stream of the channel
--          that is forgotten with it, if one is
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] MAXLEN of every stream, approximate
-- ARGV[4] term of the relay that publishes; empty for everybody else
-- ARGV[5] epoch, ARGV[6] offset and ARGV[7] proof of the place in the log that the relay knows to be published
-- ARGV[8…] for each event: id, topic, data, milliseconds to remember the id, what its body is known by (empty: its
--          producer cannot have used the id for another), the channel that is forgotten with it (empty: none), number
--          of channels, then for each channel: its name and the revision that the event gave it (empty: none)
--
-- Answers the epoch, the log's newest offset and its proof, then for each event '<how> <log offset> <channel> <offset> …';
-- how: 0 published, 1 repeated, 2 refused, because the id belongs to another event (whose places follow).
--
-- An error in the middle leaves the events before it published and nothing of it or after it: order holds, and
-- publishing the whole batch again is harmless.
local meta, log = KEYS[1], KEYS[2]
local epoch = read_or_mint_epoch(meta, ARGV[1], ARGV[2])
local leader = newer_term(meta, ARGV[4])
if leader then
  return redis.error_reply('FENCED ' .. leader)
end
if ARGV[4] ~= '' and not (ARGV[5] == epoch and holds(meta, log, read_head(meta, 'log'), tonumber(ARGV[6]), ARGV[7])) then
  return redis.error_reply('REPLACED the log is not the one that is known')
end
local life = redis.call('HGET', meta, 'life') or epoch
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
-- Redis takes back nothing that a failing script has written: that every stream is one (XLEN fails otherwise) is asked
-- before an event is numbered.
redis.call('XLEN', log)

-- Heads are read once in a batch. What an event has moved is written with it, see above.
local heads = {}
local function append(stream, channel, moved, size, ...)
  local head = heads[channel]
  if not head then
    head = read_head(meta, channel)
    heads[channel] = head
  end
  local before = head.proof
  -- Chained: the proof of a place says what all the events before it were.
  head.proof = string.sub(redis.sha1hex(before .. select(2, ...)), 1, 8)
  head.offset = head.offset + 1
  head.bytes = head.bytes + size
  local offset, bytes = string.format('%.0f', head.offset), string.format('%.0f', head.bytes)
  redis.call('XADD', stream, 'MAXLEN', '~', ARGV[3], offset .. '-0',
    'chain', before .. ' ' .. head.proof .. ' ' .. bytes, ...)
  for _, word in ipairs({ 'offset:' .. channel, offset, 'proof:' .. channel, head.proof, 'bytes:' .. channel, bytes }) do
    moved[#moved + 1] = word
  end
  return offset, before .. ' ' .. head.proof
end

local answer = { epoch, 0, '' }
local key, arg = 3, 8
while arg <= #ARGV do
  local published = KEYS[key]
  local id, topic, data, memory = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3]
  local body, forgotten, channels = ARGV[arg + 4], ARGV[arg + 5], tonumber(ARGV[arg + 6])
  arg = arg + 7
  -- Remembered with the log's life: what was published before a flush has to be published again.
  local known_life, known_body, known = string.match(redis.call('GET', published) or '', '^(%S+) (%S+) (.*)$')
  if known_life == life then
    local is_other = body ~= '' and known_body ~= '-' and known_body ~= body
    answer[#answer + 1] = (is_other and '2 ' or '1 ') .. known
  else
    for channel = 1, channels do
      redis.call('XLEN', KEYS[key + channel])
    end
    local places, at, moved = {}, {}, {}
    for channel = 1, channels do
      local name, revision = ARGV[arg + channel * 2 - 2], ARGV[arg + channel * 2 - 1]
      local offset, chain = append(KEYS[key + channel], name, moved, #data,
        'id', id, 'topic', topic, 'data', data, 'revision', revision)
      if revision ~= '' then
        moved[#moved + 1] = 'revision:' .. name
        moved[#moved + 1] = revision
      end
      places[channel] = name .. ' ' .. offset
      at[channel] = places[channel] .. ' ' .. (revision == '' and '0' or revision) .. ' ' .. chain
    end
    local log_offset = append(log, 'log', moved, #data,
      'id', id, 'topic', topic, 'data', data, 'epoch', epoch, 'published', now, 'at', table.concat(at, ' '))
    redis.call('HSET', meta, unpack(moved))
    local result = log_offset .. (channels > 0 and ' ' or '') .. table.concat(places, ' ')
    redis.call('SET', published, life .. ' ' .. (body == '' and '-' or body) .. ' ' .. result, 'PX', memory)
    answer[#answer + 1] = '0 ' .. result
  end
  key = key + 1 + channels
  arg = arg + channels * 2
  if forgotten ~= '' then
    redis.call('UNLINK', KEYS[key])
    redis.call('HDEL', meta, 'offset:' .. forgotten, 'proof:' .. forgotten, 'bytes:' .. forgotten,
      'revision:' .. forgotten)
    heads[forgotten] = nil
    key = key + 1
  end
end
local newest = heads.log or read_head(meta, 'log')
answer[2], answer[3] = newest.offset, newest.proof
if ARGV[4] ~= '' then
  redis.call('HSET', meta, 'witnessed', string.format('%.0f', newest.offset))
end
return answer
