-- New enqueued jobs of one queue and one score, on a store without explicit locks.
if ARGV[5] ~= '' and ARGV[7] == '' and not string.find(ARGV[4], '[^0]') and call('HLEN', LOCKS) == 0 then
  local count, big = #ARGV[4], tonumber(M[11] or 0)
  local step = math.min(1000, math.floor(1048576 / (big + 1)))
  if step >= 8 then
    local ids, out = {}, {}
    for i = 1, count do
      local h = ARGV[8 + 2 * i]
      ids[i] = sub(h, 19, 18 + byte(h, 17))
    end
    for from = 1, count, step do
      local there = call('HMGET', BODY, unpack(ids, from, math.min(from + step - 1, count)))
      for i = 1, #there do
        if there[i] then out[#out + 1] = from + i - 1 end
      end
    end
    if #out > 0 then return {'exists', unpack(out)} end

    local first, queue = (M[2] or 0) + 1, P .. 'q:' .. ARGV[5]
    local due8, score, largest = pack('>I8', now), ARGV[6], big
    local due7, fresh = sub(due8, 2), '\1\0\0\0\0\1' .. string.rep('\0', 38) .. due8
    local jobs, bodies, ready, n = {}, {}, {}, 0
    for i = 1, count do
      local body, seq6 = ARGV[9 + 2 * i], pack('>I6', first + i - 1)
      jobs[n + 1], jobs[n + 2] = seq6, fresh .. ARGV[8 + 2 * i]
      bodies[n + 1], bodies[n + 2] = ids[i], seq6 .. body
      ready[n + 1], ready[n + 2] = score, due7 .. seq6
      n = n + 2
      if #body + 6 > largest then largest = #body + 6 end
    end
    local values, listed = remark(runs_from(first, count), nil, 0)
    -- A queue that has jobs is listed already.
    local empty = call('ZCARD', queue) == 0
    if empty then call('ZCARD', QUEUES) end

    -- The first write looks at its own key.
    call('HSET', JOB, unpack(jobs))
    call('HSET', BODY, unpack(bodies))
    call('ZADD', queue, unpack(ready))
    if empty then call('ZADD', QUEUES, 0, ARGV[5]) end
    for i = 1, #values, 2 do call('SET', values[i], values[i + 1]) end
    if #listed > 0 then call('ZADD', P .. 'd0', unpack(listed)) end
    local fields = {'seq', S(first + count - 1), 'c0', S((M[4] or 0) + count)}
    if largest > big then fields[5], fields[6] = 'big', S(largest) end
    call('HSET', META, unpack(fields))
    redis.pcall('SPUBLISH', P .. 'wake', count .. ':' .. ARGV[5])
    return {'ok', S(first), '0', '0', string.rep('1', count)}
  end
end
