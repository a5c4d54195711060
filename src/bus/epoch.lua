-- Prepended to the scripts that need it.
--
-- Answers the epoch, minting one when the meta key is gone: flushed, replaced, never there. Streams that outlived their
-- meta key would hold offsets of another epoch, so they go with it. `life` is the epoch of the minting: it stays when
-- the epoch is rotated, because what is remembered of published events stays true.
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
  redis.call('HSET', meta, 'epoch', candidate, 'life', candidate)
  return candidate
end

-- Where a channel stands: the number of its newest event, the proof of that place, and the bytes of all its events.
local function read_head(meta, channel)
  local found = redis.call('HMGET', meta, 'offset:' .. channel, 'proof:' .. channel, 'bytes:' .. channel)
  return { offset = tonumber(found[1] or '0'), proof = found[2] or '0', bytes = tonumber(found[3] or '0') }
end

-- The proof of the place at `offset` of a channel whose head is given, or an empty string when nothing tells it any
-- more: the event after it names it, so it can be asked for as long as a reader could go on from there.
local function proof_at(stream, head, offset)
  if offset == head.offset then
    return head.proof, true
  end
  local next_id = string.format('%.0f-0', offset + 1)
  local following = redis.call('XRANGE', stream, next_id, next_id)[1]
  if not following then
    return '', false
  end
  local fields = following[2]
  for index = 1, #fields, 2 do
    if fields[index] == 'chain' then
      return string.match(fields[index + 1], '^%x+') or '', true
    end
  end
  return '', true
end

-- The term of the relay that leads, when it is not the one that asks: a relay that was replaced while it slept does not
-- know it. Terms only rise. An empty term is that of everybody else, who needs none.
local function newer_term(meta, term)
  if term == '' then
    return nil
  end
  local newest = redis.call('HGET', meta, 'term')
  if newest and tonumber(newest) > tonumber(term) then
    return newest
  end
  if newest ~= term then
    redis.call('HSET', meta, 'term', term)
  end
  return nil
end
