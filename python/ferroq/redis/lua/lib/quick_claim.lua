-- A claim of jobs that are enqueued, all of one queue, while nothing is due, lapsed or under an explicit lock, and whose
-- request was not seen before.
do
  local limit, slot = tonumber(ARGV[1]), P .. 'r:' .. ARGV[6]
  local kept = call('GET', slot)
  local fine = not (kept and sub(kept, 1, 8) == ARGV[7]) and call('HLEN', LOCKS) == 0
  -- A few runs whose time has come and of which nothing is claimed any more are no reason for the long way.
  local stale = fine and call('ZRANGE', TIMERS, '-inf', S(now), 'BYSCORE', 'LIMIT', 0, 5) or {}
  for i = 1, #stale do
    if i == 5 or #stale[i] == 6 or #claimed_of(stale[i]) > 0 then fine = false break end
  end
  local name = ARGV[10]
  if fine and not name then
    local names = call('ZRANGE', QUEUES, 0, 1)
    if #names == 0 then return {'0', '0', 0, ''} end
    name = names[1]
    fine = #names == 1
  elseif ARGV[11] then
    fine = false
  end
  if fine then
    local queue = P .. 'q:' .. name
    -- One more than wanted: says whether the queue will be empty.
    local members = call('ZRANGE', queue, 0, limit)
    local most = math.min(#members, limit)
    if most == 0 then return {'0', '0', 0, ''} end
    local first, expires_at = math.max((M[3] or 0) + 1, now), S(now + ARGV[2])
    local held = pack('>I8', now + ARGV[2]) .. char(#ARGV[4])
    local state = ARGV[4] .. '{"started_at":' .. S(now) .. ARGV[5]
    local reply, jobs, order, ids = {S(first), expires_at, 0, ''}, {}, {}, {}
    -- How a job that was never claimed before begins, and how it goes on.
    local untouched, firstly, find = '\1\0\0\0\0\1' .. string.rep('\0', 25), '\1\1\0\0\0\2\0\0\0\1\0\0\0\0', string.find
    local count, n, bytes, cap, full = 0, 0, 0, tonumber(ARGV[9]), false
    for from = 1, most, 100 do
      local upto = math.min(from + 99, most)
      for i = from, upto do order[i] = sub(members[i], 8) end
      local heads = call('HMGET', JOB, unpack(order, from, upto))
      for i = 1, #heads do
        local h, seq6 = heads[i], order[from + i - 1]
        if not h or #h < 72 then
          fine = false
          break
        end
        local size, head, id, queue_size = unpackn('>I4xxxxI4BB', h, 57)
        local front
        if find(h, untouched, 1, true) == 1 then
          front = firstly
        else
          local format, kind, version, attempt, crash, _, _, wide = unpackn('>BBI4I4I4I8I8B', h)
          if format ~= 1 or kind ~= 0 or head + wide > #h then size = nil end
          front = pack('>BBI4I4I4', 1, 1, version + 1, attempt + 1, crash)
        end
        if not size or 70 + id + queue_size > head or head > #h then
          fine = false
          break
        end
        size = size + #h
        if bytes > 0 and bytes + size > cap then
          full = true
          break
        end
        bytes = bytes + size
        local new = front .. pack('>I8', first + count) .. held .. sub(h, 32, head) .. state
        jobs[n + 1], jobs[n + 2] = seq6, new
        reply[n + 5] = new
        n = n + 2
        count = count + 1
        ids[count] = sub(h, 71, 70 + id)
      end
      if full or not fine then break end
    end
    if fine then
      for from = 1, count, 100 do
        local part = call('HMGET', BODY, unpack(ids, from, math.min(from + 99, count)))
        for i = 1, #part do reply[2 * (from + i - 1) + 4] = part[i] or '' end
      end
      local sequences = table.concat(order, '', 1, count)
      reply[4] = sequences
      -- Of one priority and one due time they stand in the order of their sequences: if they are as many as lie between the
      -- first and the last, they follow each other.
      local one, last, runs = members[1], members[count], nil
      local low, high = unpackn('>I6', one, 8), unpackn('>I6', last, 8)
      if high - low == count - 1 and sub(one, 1, 7) == sub(last, 1, 7)
        and sub(jobs[2], 61, 64) == sub(jobs[n], 61, 64) then
        runs = runs_from(low, count)
      else
        runs = {}
        for i = 1, count do
          local chunk, at = unpackn('>I5B', order[i])
          onto(runs, chunk, at)
        end
      end
      local emptied = #members == count
      if emptied then call('ZCARD', QUEUES) end
      local values, listed, unlisted = remark(runs, 0, 1)

      call('ZREMRANGEBYRANK', queue, 0, count - 1)
      if emptied then call('ZREM', QUEUES, name) end
      call('HSET', JOB, unpack(jobs))
      if #stale > 0 then call('ZREM', TIMERS, unpack(stale)) end
      call('ZADD', TIMERS, unpack(members_at(expires_at, runs)))
      for i = 1, #values, 2 do call('SET', values[i], values[i + 1]) end
      if #unlisted > 0 then call('ZREM', P .. 'd0', unpack(unlisted)) end
      if #listed > 0 then call('ZADD', P .. 'd1', unpack(listed)) end
      call('HSET', META, 'token', S(first + count - 1), 'c0', S((M[4] or 0) - count), 'c1', S((M[5] or 0) + count))
      call('SET', slot, ARGV[7] .. pack('>I8I8', first, now + ARGV[2]) .. sequences, 'PX', ARGV[8])
      return reply
    end
  end
end
