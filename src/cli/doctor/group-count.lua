-- How many consumer groups a stream has, without its entries, which XINFO STREAM answers beside it.
--
-- KEYS[1] the stream
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err then
  for index = 1, #info, 2 do
    if info[index] == 'groups' then
      return info[index + 1]
    end
  end
end
return 0
