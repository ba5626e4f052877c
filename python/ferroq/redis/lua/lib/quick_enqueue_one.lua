-- One new enqueued job on a store without explicit locks.
if ARGV[4] == '0' and ARGV[7] == '' and call('HLEN', LOCKS) == 0 then
  local h, body, queue = ARGV[10], ARGV[11], P .. 'q:' .. ARGV[5]
  local id = sub(h, 19, 18 + byte(h, 17))
  if call('HEXISTS', BODY, id) == 1 then return {'exists', 1} end

  local number, due8 = (M[2] or 0) + 1, pack('>I8', now)
  local at = number % 256
  local first, seq6 = S(number), pack('>I6', number)
  local key, value, listed = remark_one((number - at) / 256, at, nil, '0')
  -- A queue that has jobs is listed already.
  local empty = call('ZCARD', queue) == 0
  if empty then call('ZCARD', QUEUES) end

  -- The first write looks at its own key.
  call('HSET', JOB, seq6, '\1\0\0\0\0\1' .. string.rep('\0', 38) .. due8 .. h)
  call('HSET', BODY, id, seq6 .. body)
  call('ZADD', queue, ARGV[6], sub(due8, 2) .. seq6)
  if empty then call('ZADD', QUEUES, 0, ARGV[5]) end
  call('SET', key, value)
  if listed then call('ZADD', P .. 'd0', listed, listed) end
  if #body + 6 > tonumber(M[11] or 0) then
    call('HSET', META, 'seq', first, 'c0', S((M[4] or 0) + 1), 'big', #body + 6)
  else
    call('HSET', META, 'seq', first, 'c0', S((M[4] or 0) + 1))
  end
  redis.pcall('SPUBLISH', P .. 'wake', '1:' .. ARGV[5])
  return {'ok', first, '0', '0', '1'}
end
