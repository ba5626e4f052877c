-- Settlements to succeeded or deleted, all to one kind that is kept, of jobs that are as their holders know them, to the byte,
-- under tokens that are in force. Tokens are unique in the store: under its token a job is the right one wherever its record
-- lay.
if ARGV[7] ~= '' and tonumber(ARGV[7]) > now then
  local count, find = tonumber(ARGV[6]), string.find
  local heads, jobs, done, places, n, fine = {}, {}, {}, {}, 0, true
  for from = 1, count, 100 do
    local part = call('HMGET', JOB, unpack(ARGV, 8 + from, 8 + math.min(from + 99, count)))
    for i = 1, #part do heads[from + i - 1] = part[i] end
  end
  local instant, front, rest, known = S(now), 8 + count, 8 + 2 * count, 8 + 3 * count
  for i = 1, count do
    local h, seq6 = heads[i], ARGV[8 + i]
    if not h or #h < 72 or find(h, ARGV[known + i], 1, true) ~= 1 then
      fine = false
      break
    end
    local head, id, queue = unpackn('>I4BB', h, 65)
    if 70 + id + queue > head or head + byte(h, 31) > #h then
      fine = false
      break
    end
    jobs[n + 1], jobs[n + 2] = seq6, ARGV[front + i] .. sub(h, 45, 60) .. ARGV[rest + i]
    done[n + 1], done[n + 2] = instant, seq6
    n = n + 2
    local chunk, at = unpackn('>I5B', seq6)
    local list = places[chunk]
    if not list then list = {} places[chunk] = list end
    list[#list + 1] = at + 1
  end
  if fine then
    local to = byte(ARGV[front + 1], 2)
    local order = P .. 'f' .. to
    call('ZCARD', TIMERS)
    local values, listed, unlisted = remark(places, 1, to)
    -- The first write looks at its own key.
    call('ZADD', order, unpack(done))
    if call('ZREM', TIMERS, unpack(ARGV, 9, 8 + count)) < count then
      for i = 1, count do unready(heads[i], ARGV[8 + i]) end
    end
    call('HSET', JOB, unpack(jobs))
    for i = 1, #values, 2 do call('SET', values[i], values[i + 1]) end
    if #unlisted > 0 then call('ZREM', P .. 'd1', unpack(unlisted)) end
    if #listed > 0 then call('ZADD', P .. 'd' .. to, unpack(listed)) end
    call('HSET', META, 'c1', S((M[5] or 0) - count), 'c' .. to, S((M[4 + to] or 0) + count))
    return ''
  end
end
