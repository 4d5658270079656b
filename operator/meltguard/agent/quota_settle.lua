#!lua flags=allow-oom
-- Ends one reservation: commit keeps the images spent, release gives them back. Atomic, safe to repeat, and done by a
-- full server too: refusing it would free nothing.
-- KEYS: 1 the tier's day, 2 the user's account, 3 its holds, 4 the mark of a delivered request
-- ARGV: 1 request, 2 images, 3 day id, 4 'commit' or 'release'
local day = redis.call('HMGET', KEYS[1], 'id', 'end')
if day[1] ~= ARGV[3] then return 0 end
local delivered = redis.call('EXISTS', KEYS[4]) == 1
local held = redis.call('HDEL', KEYS[3], ARGV[1]) == 1
local change = 0
if ARGV[4] == 'release' then
  if held then change = -tonumber(ARGV[2]) end
elseif not delivered then
  if not held then change = tonumber(ARGV[2]) end  -- its hold was forgotten meanwhile; the images were still had
  redis.call('SET', KEYS[4], '1', 'PXAT', day[2])
end
if change ~= 0 then
  redis.call('HSET', KEYS[2], 'day', ARGV[3])
  redis.call('HINCRBY', KEYS[2], 'used', change)
  redis.call('PEXPIREAT', KEYS[2], day[2])
end
return 1
