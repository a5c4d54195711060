-- Prepended to the scripts that need it.
--
-- True when a channel's stream holds nothing: no event, and no group that waits for one. Such a key says no more than none
-- would. All of it is O(1).
local function is_unused(stream)
  if redis.pcall('XLEN', stream) ~= 0 then
    return false
  end
  if redis.call('EXISTS', stream) == 0 then
    return true
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for index = 1, #info, 2 do
    if info[index] == 'groups' then
      return info[index + 1] == 0
    end
  end
  return false
end
