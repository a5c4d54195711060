-- Publishes events in order: numbers each one in its channels and in the log, once.
--
-- KEYS[1] meta
-- KEYS[2] the log's stream
-- KEYS[3…] for each event: its published key, then the stream of each of its channels
-- ARGV[1] epoch to use if one must be minted
-- ARGV[2] pattern of all streams
-- ARGV[3] MAXLEN of every stream, approximate
-- ARGV[4…] for each event: id, topic, data, milliseconds to remember the id, number of channels,
--          then for each channel: its name and the revision that the event gave it (empty: none)
--
-- Answers the epoch, then for each event '<1 when repeated, else 0> <log offset> <channel> <offset> …'.
--
-- An error in the middle leaves the events before it published and nothing of it or after it: order holds, and
-- publishing the whole batch again is harmless.
local meta, log = KEYS[1], KEYS[2]
local epoch = read_or_mint_epoch(meta, ARGV[1], ARGV[2])
-- Redis takes back nothing that a failing script has written: that every stream is one (XLEN fails otherwise) is asked
-- before an event is numbered.
redis.call('XLEN', log)
local answer = { epoch }
local key, arg = 3, 4
while arg <= #ARGV do
  local published = KEYS[key]
  local id, topic, data, memory, channels = ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], tonumber(ARGV[arg + 4])
  arg = arg + 5
  -- Remembered with its epoch: what was published before a flush has to be published again.
  local known_epoch, known = string.match(redis.call('GET', published) or '', '^(%S+) (.*)$')
  if known_epoch == epoch then
    answer[#answer + 1] = '1 ' .. known
  else
    for channel = 1, channels do
      redis.call('XLEN', KEYS[key + channel])
    end
    local places, at = {}, {}
    for channel = 1, channels do
      local name, revision = ARGV[arg + channel * 2 - 2], ARGV[arg + channel * 2 - 1]
      local offset = redis.call('HINCRBY', meta, 'offset:' .. name, 1)
      redis.call('XADD', KEYS[key + channel], 'MAXLEN', '~', ARGV[3], offset .. '-0',
        'id', id, 'topic', topic, 'data', data, 'revision', revision)
      places[channel] = name .. ' ' .. offset
      at[channel] = places[channel] .. ' ' .. (revision == '' and '0' or revision)
    end
    local log_offset = redis.call('HINCRBY', meta, 'offset:log', 1)
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[3], log_offset .. '-0',
      'id', id, 'topic', topic, 'data', data, 'epoch', epoch, 'at', table.concat(at, ' '))
    local result = log_offset .. (channels > 0 and ' ' or '') .. table.concat(places, ' ')
    redis.call('SET', published, epoch .. ' ' .. result, 'PX', memory)
    answer[#answer + 1] = '0 ' .. result
  end
  key = key + 1 + channels
  arg = arg + channels * 2
end
return answer
