#!lua flags=allow-oom
-- Ends reservations of one policy: commit keeps the images that were delivered spent and gives the rest back, release
-- gives all back. Atomic, safe to repeat, and done by a full server too: refusing it would free nothing.
-- KEYS: for each reservation 1 the tier's running span, 2 the user's account, 3 its holds, 4 its delivered requests
-- ARGV: how long a delivered request is known (s); then for each 1 request, 2 images delivered, 3 span id,
--       4 'commit' or 'release', 5 which attempt at the request: what it gives back is not a later attempt's
-- Answers the writes of each one's span after that.
local known_for, seconds = tonumber(ARGV[1]), tonumber(redis.call('TIME')[1])

local function forget_old(marks_key)
  local marks = redis.call('HGETALL', marks_key)
  for i = 1, #marks, 2 do
    if tonumber(marks[i + 1]) < seconds - known_for then redis.call('HDEL', marks_key, marks[i]) end
  end
end

local function settle(span_key, account, holds, delivered, request, images, id, ending, attempt)
  local span = redis.call('HMGET', span_key, 'id', 'end', 'writes')
  if span[1] ~= id then return 0 end
  local hold = redis.call('HGET', holds, request)
  if hold and ending == 'release' and (string.match(hold, '^%d+:%d+:(.*)$') or '') ~= attempt then hold = false end
  local change = 0
  if hold then
    change = -tonumber(string.match(hold, '^%d+'))
    redis.call('HDEL', holds, request)
  end
  -- Also where its hold was forgotten meanwhile: the images were still had.
  if ending == 'commit' and redis.call('HSET', delivered, request, seconds) == 1 then
    change = change + tonumber(images)
    redis.call('PEXPIREAT', delivered, span[2])
    if redis.call('HLEN', delivered) % 64 == 0 then forget_old(delivered) end
  end
  if change ~= 0 then
    redis.call('HSET', account, 'day', id)
    redis.call('HINCRBY', account, 'used', change)
    redis.call('PEXPIREAT', account, span[2])
  end
  if hold or change ~= 0 then return redis.call('HINCRBY', span_key, 'writes', 1) end
  return tonumber(span[3] or '0')
end

local writes = {}
local a = 2
for i = 1, #KEYS, 4 do
  writes[#writes + 1] = settle(
    KEYS[i], KEYS[i + 1], KEYS[i + 2], KEYS[i + 3], ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  )
  a = a + 5
end
return writes
