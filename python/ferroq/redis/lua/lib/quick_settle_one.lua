-- One settlement to succeeded or deleted, of a kind that is kept, under a token that is in force.
--
-- As unready_after_all() in commit.lua, for a job whose timer was gone: the clock went back after it was taken over.
local function unready(h, seq6)
  local id, size = byte(h, 69, 70)
  local queue = sub(h, 71 + id, 70 + id + size)
  local key = P .. 'q:' .. queue
  if redis.pcall('ZREM', key, sub(h, 46, 52) .. seq6) == 1 and call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
end

if ARGV[6] == '1' and ARGV[2] == '' and ARGV[3] == '' then
  local seq6, a = ARGV[7], ARGV[8]
  local to1 = sub(a, 2, 2)
  local h = (to1 == '\2' or to1 == '\4') and call('HGET', JOB, seq6)
  if h and #h > 71 then
    local format, kind, version, _, _, token, expires = unpackn('>BBI4I4I4I8I8', h)
    local head, id, queue = unpackn('>I4BB', h, 65)
    if format == 1 and kind == 1 and token > 0 and expires > now and sub(h, 15, 22) == sub(a, 15, 22)
      and 70 + id + queue <= head and head + byte(h, 31) <= #h then
      local version4, counts, middle, to = pack('>I4', version + 1), sub(h, 7, 14), sub(h, 45, 60), byte(to1)
      local front = '\0' .. version4 .. counts .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
      local digit = char(48 + to)
      call('ZCARD', TIMERS)
      local chunk, at = unpackn('>I5B', seq6)
      local key, value, listed, unlisted = remark_one(chunk, at, '1', digit)

      -- The first write looks at its own key.
      call('ZADD', P .. 'f' .. digit, S(now), seq6)
      if call('ZREM', TIMERS, seq6) == 0 then unready(h, seq6) end
      call('HSET', JOB, seq6, '\1' .. to1 .. sub(front, 2) .. '\0' .. sub(h, 15, 22) .. to1 .. version4 .. middle .. ARGV[9])
      call('SET', key, value)
      if unlisted then call('ZREM', P .. 'd1', unlisted) end
      if listed then call('ZADD', P .. 'd' .. digit, listed, listed) end
      call('HSET', META, 'c1', S((M[5] or 0) - 1), 'c' .. digit, S((M[4 + to] or 0) + 1))
      return front .. middle .. seq6 .. '\0'
    end
  end
end
