#!lua
-- Sets images of one user's period aside. Atomic; the clock is the server's.
-- The first line makes a server without memory refuse it whole, before it has written anything.
-- KEYS: 1 the tier's running span, 2 the user's account, 3 its holds, 4 its delivered requests
-- ARGV: 1 request, 2 images, 3 limit, 4 hold (ms), 5 span start, 6 span end (ms), 7 id for a new span,
--       8 id of the span seen ('' for none), 9 end of the span seen (ms), 10 its writes heard of, 11 which attempt at the request
-- Answers {outcome, images used, now (ms), span end (ms), span id, images held, requests, writes}. The requests are
-- told where the allowance is used up and they are few: {name, 'in-progress' or 'delivered', ...}; else false.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local images, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local seen_now = ARGV[8] ~= '' and tonumber(ARGV[9]) > now
local most_told = 32

-- lost is '0', '1', or 'accepted' where a person said that counting may begin anew.
local span = redis.call('HMGET', KEYS[1], 'id', 'end', 'lost', 'writes')
local id, ends, lost, writes = span[1], tonumber(span[2] or '0'), span[3] == '1', tonumber(span[4] or '0')
if not id or ends <= now then
  if now < tonumber(ARGV[5]) or now >= tonumber(ARGV[6]) then
    return {'wrong-span', 0, now, 0, '', 0, false, 0}
  end
  -- Someone has seen this span and the store does not know it: what was spent is lost.
  id, ends, lost, writes = ARGV[7], tonumber(ARGV[6]), seen_now, 0
  if seen_now then ends = math.max(ends, tonumber(ARGV[9])) end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'id', id, 'end', string.format('%.0f', ends), 'lost', lost and '1' or '0')
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', ends))
elseif seen_now and ARGV[8] ~= id and span[3] == '0' then
  lost = true
  redis.call('HSET', KEYS[1], 'lost', '1')
end
if lost then return {'lost', 0, now, ends, id, 0, false, writes} end
-- It was a replica that had not heard of all: it is told again, and until then grants nothing to who noticed.
if ARGV[8] == id and writes < tonumber(ARGV[10]) then return {'behind', 0, now, ends, id, 0, false, writes} end

local account = redis.call('HMGET', KEYS[2], 'day', 'used')
local used = tonumber(account[2] or '0')
if account[1] ~= id then
  used = 0
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
end

-- Holds that nobody settled in time cost nothing. There are as many as requests in progress: few.
local requests, held = {}, 0
local holds = redis.call('HGETALL', KEYS[3])
local before = used
local mine = false
for i = 1, #holds, 2 do
  local aside, till = string.match(holds[i + 1], '(%d+):(%d+)')
  if tonumber(till) <= now then
    redis.call('HDEL', KEYS[3], holds[i])
    used = used - tonumber(aside)
  else
    mine = mine or holds[i] == ARGV[1]
    held = held + tonumber(aside)
    requests[#requests + 1] = holds[i]
    requests[#requests + 1] = 'in-progress'
  end
end
if used ~= before then redis.call('HSET', KEYS[2], 'used', used) end

if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1 then return {'delivered', used, now, ends, id, held, false, writes} end
if mine then return {'in-progress', used, now, ends, id, held, false, writes} end
if used + images > limit then
  if #requests / 2 + redis.call('HLEN', KEYS[4]) > most_told then
    requests = false
  else
    for _, name in ipairs(redis.call('HKEYS', KEYS[4])) do
      requests[#requests + 1] = name
      requests[#requests + 1] = 'delivered'
    end
  end
  return {'exhausted', used, now, ends, id, held, requests, writes}
end
used = used + images
redis.call('HSET', KEYS[2], 'day', id, 'used', used)
redis.call('HSET', KEYS[3], ARGV[1], images .. ':' .. string.format('%.0f', now + tonumber(ARGV[4])) .. ':' .. ARGV[11])
redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', ends))
redis.call('PEXPIREAT', KEYS[3], string.format('%.0f', ends))
return {'granted', used, now, ends, id, held + images, false, redis.call('HINCRBY', KEYS[1], 'writes', 1)}
