#!lua flags=allow-oom
-- Ends one reservation: commit keeps the images that were delivered spent and gives the rest back, release gives all
-- back. Atomic, safe to repeat, and done by a full server too: refusing it would free nothing.
-- KEYS: 1 the tier's running span, 2 the user's account, 3 its holds, 4 its delivered requests
-- ARGV: 1 request, 2 images delivered, 3 span id, 4 'commit' or 'release', 5 how long a delivered request is known (s)
local span = redis.call('HMGET', KEYS[1], 'id', 'end')
if span[1] ~= ARGV[3] then return 0 end
local hold = redis.call('HGET', KEYS[3], ARGV[1])
local change = 0
if hold then
  change = -tonumber(string.match(hold, '^%d+'))
  redis.call('HDEL', KEYS[3], ARGV[1])
end
if ARGV[4] == 'commit' and redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then
  change = change + tonumber(ARGV[2])  -- also where its hold was forgotten meanwhile: the images were still had
  local seconds = tonumber(redis.call('TIME')[1])
  redis.call('HSET', KEYS[4], ARGV[1], seconds)
  redis.call('PEXPIREAT', KEYS[4], span[2])
  if redis.call('HLEN', KEYS[4]) % 64 == 0 then
    local marks = redis.call('HGETALL', KEYS[4])
    for i = 1, #marks, 2 do
      if tonumber(marks[i + 1]) < seconds - tonumber(ARGV[5]) then redis.call('HDEL', KEYS[4], marks[i]) end
    end
  end
end
if change ~= 0 then
  redis.call('HSET', KEYS[2], 'day', ARGV[3])
  redis.call('HINCRBY', KEYS[2], 'used', change)
  redis.call('PEXPIREAT', KEYS[2], span[2])
end
return 1
