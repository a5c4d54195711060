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
  -- KEYS walks the keyspace; a mint happens once in a log's life, when there is next to nothing to walk. Where somebody
  -- deleted the meta key alone and left 100,000 streams, this holds Redis up for half a second, once. Not little by
  -- little, because a stream of the old numbers must be seen by nobody under the new epoch.
  local streams = redis.call('KEYS', all_streams)
  for first = 1, #streams, 1000 do
    redis.call('UNLINK', unpack(streams, first, math.min(first + 999, #streams)))
  end
  redis.call('DEL', meta)
  redis.call('HSET', meta, 'epoch', candidate, 'life', candidate)
  return candidate
end

-- Where a channel stands: the number of its newest event, the proof of that place, and the bytes of all its events. The
-- root of the channels that have no event changes when one is forgotten (trim.lua).
local function read_head(meta, channel)
  local found = redis.call('HMGET', meta, 'offset:' .. channel, 'proof:' .. channel, 'bytes:' .. channel, 'root')
  local offset, bytes = tonumber(found[1] or '0'), tonumber(found[3] or '0')
  return { offset = offset, proof = found[2] or found[4] or '0', bytes = bytes }
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

-- Whether the log holds a place that the database knows to be published. Where it was trimmed past it, the place proves
-- nothing any more; then what Redis itself has been told tells: a server that came back older has not been told of it.
local function holds(meta, log, head, offset, proof)
  if offset > head.offset then
    return false
  end
  local found, is_known = proof_at(log, head, offset)
  if is_known then
    return found == proof
  end
  return tonumber(redis.call('HGET', meta, 'witnessed') or '-1') >= offset
end
