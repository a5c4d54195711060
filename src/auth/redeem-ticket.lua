-- Redeems a ticket, once. Taking it and remembering it are one step: a crash between them would leave a browser with a
-- URL that is neither a ticket nor a spent one.
--
-- KEYS[1] the ticket; its value begins with when the session expires, in milliseconds since the epoch
-- KEYS[2] where the ticket is remembered once it is spent
--
-- Answers 'fresh' or 'spent' and what is stored, or an empty list for a ticket that is unknown or has expired.
local session = redis.call('GETDEL', KEYS[1])
if session then
  redis.call('SET', KEYS[2], session, 'PXAT', string.match(session, '^%d+'))
  return { 'fresh', session }
end
local spent = redis.call('GET', KEYS[2])
if spent then
  return { 'spent', spent }
end
return {}
