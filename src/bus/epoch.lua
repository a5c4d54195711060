-- Prepended to the scripts that need it.
--
-- Answers the epoch, minting one when the meta key is gone: flushed, replaced, never there. Streams that outlived their
-- meta key would hold offsets of another epoch, so they go with it.
local function read_or_mint_epoch(meta, candidate, all_streams)
  local epoch = redis.call('HGET', meta, 'epoch')
  if epoch then
    return epoch
  end
  -- KEYS walks the keyspace; a mint happens once in a log's life, when there is next to nothing to walk.
  for _, stream in ipairs(redis.call('KEYS', all_streams)) do
    redis.call('UNLINK', stream)
  end
  redis.call('DEL', meta)
  redis.call('HSET', meta, 'epoch', candidate)
  return candidate
end
