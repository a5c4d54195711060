-- Publishes events in order: numbers each one in its channels and in the log, once.
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- KEYS[3] what the call is remembered by
-- KEYS[4…] for each event: the stream of each of its channels, then the stream of the channel that is forgotten with it,
--          if one is
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] MAXLEN of every stream, approximate
-- ARGV[4] term of the relay that publishes; empty for everybody else
-- ARGV[5] epoch, ARGV[6] offset and ARGV[7] proof of the place in the log that the relay knows to be published
-- ARGV[8] milliseconds to remember the call
-- ARGV[9] '1' when the events have been sent before, in a call that failed; otherwise empty
-- ARGV[10] what the keys of published events begin with; they have the hash tag of KEYS
-- ARGV[11…] for each event: id, topic, data, milliseconds to remember the id (empty: nobody will send it again but with
--          this very call), what its body is known by (empty: its producer cannot have used the id for another), the channel
--          that is forgotten with it (empty: none), number of channels, then for each channel: its name and the revision
--          that the event gave it (empty: none)
--
-- Answers the epoch, the log's newest offset and its proof, then for each event '<how> <log offset> <channel> <offset> …';
-- how: 0 published, 1 repeated, 2 refused, because the id belongs to another event (whose places follow).
--
-- An error in the middle leaves the events before it published and nothing of it or after it: order holds, and
-- publishing the whole batch again is harmless.
local meta, log, call, prefix = KEYS[1], KEYS[2], KEYS[3], ARGV[10]
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

-- Heads are read once in a batch, and written once, when it is done. Redis takes back nothing that a failing script has
-- written: that a stream is one (XLEN fails otherwise) is asked before an event is numbered in it.
local heads = {}
local function head_of(stream, channel)
  local head = heads[channel]
  if not head then
    redis.call('XLEN', stream)
    head = read_head(meta, channel)
    head.stream, head.from = stream, head.offset
    heads[channel] = head
  end
  return head
end

-- Two fields hold it all: what each value costs, in Lua, in the append-only file, in every answer and reader, is more than
-- its bytes do. No word of the first can hold a space.
local function append(head, data, id, revision, topic, more)
  local before = head.proof
  -- Chained: the proof of a place says what all the events before it were.
  local proof = string.sub(redis.sha1hex(before .. id), 1, 8)
  local offset, bytes = string.format('%d', head.offset + 1), head.bytes + #data
  redis.call('XADD', head.stream, offset .. '-0', 'chain',
    before .. ' ' .. proof .. ' ' .. string.format('%d', bytes) .. ' ' .. revision .. ' ' .. id .. ' ' .. topic .. more,
    'data', data)
  head.proof, head.offset, head.bytes = proof, head.offset + 1, bytes
  return offset, before .. ' ' .. proof
end

-- Whole nodes of a stream are trimmed, of a hundred entries each unless configured otherwise: more often there is nothing
-- to be found.
local NODE = 100
local function write_heads()
  local moved = {}
  for channel, head in pairs(heads) do
    if head.offset > head.from then
      local count = #moved
      moved[count + 1], moved[count + 2] = 'offset:' .. channel, string.format('%d', head.offset)
      moved[count + 3], moved[count + 4] = 'proof:' .. channel, head.proof
      moved[count + 5], moved[count + 6] = 'bytes:' .. channel, string.format('%d', head.bytes)
      if head.revision then
        moved[count + 7], moved[count + 8] = 'revision:' .. channel, head.revision
      end
      if math.floor(head.offset / NODE) > math.floor(head.from / NODE) then
        redis.call('XTRIM', head.stream, 'MAXLEN', '~', ARGV[3])
      end
    end
    if #moved >= 1000 then
      redis.call('HSET', meta, unpack(moved))
      moved = {}
    end
  end
  if #moved > 0 then
    redis.call('HSET', meta, unpack(moved))
  end
end

local function remember(id, body, result, milliseconds)
  redis.call('SET', prefix .. id, life .. ' ' .. (body == '' and '-' or body) .. ' ' .. result, 'PX', milliseconds)
end

-- Remembered with the log's life: what was published before a flush has to be published again.
local function recall(key, pattern)
  local known_life, body, result = string.match(redis.call('GET', key) or '', pattern)
  if known_life == life then
    return body, result
  end
end

local answer, of_call = { epoch, 0, '' }, {}
local key, arg = 4, 11
local function publish_next()
  local id, topic, data, memory = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3]
  local body, forgotten, channels = ARGV[arg + 4], ARGV[arg + 5], tonumber(ARGV[arg + 6])
  local known_body, known
  if memory ~= '' or ARGV[9] == '1' then
    known_body, known = recall(prefix .. id, '^(%S+) (%S+) (.*)$')
  end
  arg = arg + 7
  if known then
    local is_other = body ~= '' and known_body ~= '-' and known_body ~= body
    answer[#answer + 1] = (is_other and '2 ' or '1 ') .. known
  else
    local own, own_log = {}, head_of(log, 'log')
    for channel = 1, channels do
      own[channel] = head_of(KEYS[key + channel - 1], ARGV[arg + channel * 2 - 2])
    end
    local places, at = '', ' ' .. epoch .. ' ' .. now
    for channel = 1, channels do
      local name, revision = ARGV[arg + channel * 2 - 2], ARGV[arg + channel * 2 - 1]
      if revision == '' then
        revision = '0'
      else
        own[channel].revision = revision
      end
      local offset, chain = append(own[channel], data, id, revision, topic, ' ' .. epoch)
      places = places .. ' ' .. name .. ' ' .. offset
      at = at .. ' ' .. name .. ' ' .. offset .. ' ' .. revision .. ' ' .. chain
    end
    local result = append(own_log, data, id, '0', topic, at) .. places
    if memory == '' then
      of_call[#of_call + 1] = id
      of_call[#of_call + 1] = result
    else
      remember(id, body, result, memory)
    end
    answer[#answer + 1] = '0 ' .. result
  end
  key = key + channels
  arg = arg + channels * 2
  if forgotten ~= '' then
    redis.call('UNLINK', KEYS[key])
    redis.call('HDEL', meta, 'offset:' .. forgotten, 'proof:' .. forgotten, 'bytes:' .. forgotten,
      'revision:' .. forgotten)
    heads[forgotten] = nil
    key = key + 1
  end
end

-- The same call again: its answer was lost, and the connection has sent it a second time.
local _, known_call = recall(call, '^(%S+)(\n)(.*)$')
if known_call then
  local again = {}
  for line in string.gmatch(known_call, '[^\n]+') do
    again[#again + 1] = line
  end
  again[2] = tonumber(again[2])
  return again
end

local is_done, failure = true, nil
while is_done and arg <= #ARGV do
  is_done, failure = pcall(publish_next)
end
write_heads()
if not is_done then
  -- Whoever sends these again sends them in another call.
  for index = 1, #of_call, 2 do
    remember(of_call[index], '', of_call[index + 1], ARGV[8])
  end
  return redis.error_reply(type(failure) == 'table' and failure.err or failure)
end
local newest = heads.log or read_head(meta, 'log')
answer[2], answer[3] = newest.offset, newest.proof
if ARGV[4] ~= '' then
  redis.call('HSET', meta, 'witnessed', string.format('%d', newest.offset))
end
if #of_call > 0 then
  redis.call('SET', call, life .. '\n' .. table.concat(answer, '\n'), 'PX', ARGV[8])
end
return answer
