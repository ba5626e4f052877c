#!lua
-- include: base record locks
--
-- Takes an explicit lock on an id, stored or not [Q9, L5]. ARGV 1 id  2 worker  3 length, µs. Returns 1 or 0.
local id = ARGV[1]
if any_lock then
  local lock = call('HGET', LOCKS, id)
  if lock and unpackn('>I8', lock) > now then return 0 end
  -- A few of those that ended, on names that are no jobs: where nobody claims, nobody else tidies.
  local ended, stale = call('ZRANGE', ENDS, '-inf', S(now), 'BYSCORE', 'LIMIT', 0, 10), {}
  for _, name in ipairs(ended) do
    if name ~= id and sub(call('HGET', LOCKS, name) or '', 9, 14) == '\0\0\0\0\0\0' then stale[#stale + 1] = name end
  end
  if #stale > 0 then
    call('ZREM', ENDS, unpack(stale))
    call('HDEL', LOCKS, unpack(stale))
  end
end
local body = call('HGET', BODY, id)
local seq6 = body and seq_of(body) or '\0\0\0\0\0\0'
local h = body and call('HGET', JOB, seq6)
if not sound(h) or id_of(h) ~= id then h = nil end
if h and byte(h, 2) == 1 and unpackn('>I8', h, 23) > now then return 0 end
local key = h and P .. 'q:' .. queue_of(h)
if h then call('ZCARD', key) end
call('ZCARD', ENDS) call('ZCARD', QUEUES)
local expires = now + ARGV[3]
call('HSET', LOCKS, id, pack('>I8', expires) .. seq6 .. ARGV[2])
call('ZADD', ENDS, S(expires), id)
if h and call('ZREM', key, member_of(h, seq6)) == 1 and call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue_of(h)) end
return 1
