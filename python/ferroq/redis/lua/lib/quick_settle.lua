-- Settlements to succeeded or deleted under tokens that are in force, all to one kind that is kept. Tokens are unique in the
-- store: under its token a job is the right one wherever its record lay.
if ARGV[2] == '' and ARGV[3] == '' then
  local count = tonumber(ARGV[6])
  local to = byte(ARGV[7 + count], 2)
  local fine = to == 2 or to == 4
  local heads, jobs, done, out, places, n = {}, {}, {}, {}, {}, 0
  for from = 1, fine and count or 0, 100 do
    local part = call('HMGET', JOB, unpack(ARGV, 6 + from, 6 + math.min(from + 99, count)))
    for i = 1, #part do heads[from + i - 1] = part[i] end
  end
  local instant, to1 = S(now), char(to)
  local kind2, zeros = '\1' .. to1, string.rep('\0', 17)
  for i = 1, fine and count or 0 do
    local h, a, seq6 = heads[i], ARGV[6 + count + i], ARGV[6 + i]
    if not h or #h < 72 or byte(a, 2) ~= to then
      fine = false
      break
    end
    local format, kind, version, _, _, token, expires = unpackn('>BBI4I4I4I8I8', h)
    local held = unpackn('>I8', a, 15)
    local head, id, queue = unpackn('>I4BB', h, 65)
    if held == 0 or token ~= held or kind ~= 1 or format ~= 1 or expires <= now
      or 70 + id + queue > head or head + byte(h, 31) > #h then
      fine = false
      break
    end
    local version4, counts, middle = pack('>I4', version + 1), sub(h, 7, 14), sub(h, 45, 60)
    jobs[n + 1] = seq6
    jobs[n + 2] = kind2 .. version4 .. counts .. zeros .. sub(h, 15, 22) .. to1 .. version4 .. middle
      .. ARGV[6 + 2 * count + i]
    done[n + 1], done[n + 2] = instant, seq6
    n = n + 2
    out[i] = '\0' .. version4 .. counts .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' .. middle .. seq6 .. '\0'
    local chunk, at = unpackn('>I5B', seq6)
    local list = places[chunk]
    if not list then list = {} places[chunk] = list end
    list[#list + 1] = at + 1
  end
  if fine then
    local order = P .. 'f' .. to
    call('ZCARD', TIMERS)
    local values, listed, unlisted = remark(places, 1, to)
    -- The first write looks at its own key.
    call('ZADD', order, unpack(done))
    if call('ZREM', TIMERS, unpack(ARGV, 7, 6 + count)) < count then
      for i = 1, count do unready(heads[i], ARGV[6 + i]) end
    end
    call('HSET', JOB, unpack(jobs))
    for i = 1, #values, 2 do call('SET', values[i], values[i + 1]) end
    if #unlisted > 0 then call('ZREM', P .. 'd1', unpack(unlisted)) end
    if #listed > 0 then call('ZADD', P .. 'd' .. to, unpack(listed)) end
    call('HSET', META, 'c1', S((M[5] or 0) - count), 'c' .. to, S((M[4 + to] or 0) + count))
    return table.concat(out)
  end
end
