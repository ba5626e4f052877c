-- One settlement to succeeded or deleted, of a kind that is kept, as in quick_settle.lua.
--
-- As unready_after_all() in commit.lua, for a job whose timer was gone: the clock went back after it was taken over.
local function unready(h, seq6)
  local id, size = byte(h, 69, 70)
  local queue = sub(h, 71 + id, 70 + id + size)
  local key = P .. 'q:' .. queue
  if redis.pcall('ZREM', key, sub(h, 46, 52) .. seq6) == 1 and call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
end

if ARGV[6] == '1' and ARGV[7] ~= '' and tonumber(ARGV[7]) > now then
  local seq6 = ARGV[9]
  local h = call('HGET', JOB, seq6)
  if h and #h > 71 and string.find(h, ARGV[12], 1, true) == 1 then
    local head, id, queue = unpackn('>I4BB', h, 65)
    if 70 + id + queue <= head and head + byte(h, 31) <= #h then
      local to = byte(ARGV[10], 2)
      local digit = char(48 + to)
      call('ZCARD', TIMERS)
      local chunk, at = unpackn('>I5B', seq6)
      local key, value, listed, unlisted = remark_one(chunk, at, '1', digit)

      -- The first write looks at its own key.
      call('ZADD', P .. 'f' .. digit, S(now), seq6)
      if call('ZREM', TIMERS, seq6) == 0 then unready(h, seq6) end
      call('HSET', JOB, seq6, ARGV[10] .. sub(h, 45, 60) .. ARGV[11])
      call('SET', key, value)
      if unlisted then call('ZREM', P .. 'd1', unlisted) end
      if listed then call('ZADD', P .. 'd' .. digit, listed, listed) end
      call('HSET', META, 'c1', S((M[5] or 0) - 1), 'c' .. digit, S((M[4 + to] or 0) + 1))
      return ''
    end
  end
end
