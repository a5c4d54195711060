-- A portion of a channel's stream without its data: what numbers and proves its events.
--
-- KEYS[1] the channel's stream
-- ARGV[1] where to begin, as XRANGE takes it
-- ARGV[2] entries at most
-- ARGV[3] bytes of their data at most; one event may be larger
--
-- Answers for each entry its id, its chain and the id of its event, one after the other.
local answer, from, bytes = {}, ARGV[1], 0
for _ = 1, tonumber(ARGV[2]) do
  -- One by one: an event may have 2 MiB, and a hundred of them would be read before their size is known.
  local entry = bytes < tonumber(ARGV[3]) and redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
  if not entry then
    break
  end
  local values = {}
  for index = 1, #entry[2], 2 do
    values[entry[2][index]] = entry[2][index + 1]
  end
  bytes = bytes + #(values.data or '')
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = values.chain or ''
  answer[#answer + 1] = values.id or ''
  from = '(' .. entry[1]
end
return answer
