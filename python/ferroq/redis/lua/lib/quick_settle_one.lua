-- One settlement to succeeded or deleted, of a kind that is kept, as in quick_settle.lua.
--
-- As unready_all() in runs.lua, of a job that has no timer of its own.
local function unready(h, seq6)
  local id, size = byte(h, 69, 70)
  local queue = sub(h, 71 + id, 70 + id + size)
  local key = P .. 'q:' .. queue
  if redis.pcall('ZREM', key, sub(h, 46, 52) .. seq6) == 1 and call('EXISTS', key) == 0 then redis.pcall('ZREM', QUEUES, queue) end
end

if ARGV[6] == '1' and ARGV[7] ~= '' and tonumber(ARGV[7]) > now then
  local letter = ARGV[8]
  local seq6, token8 = sub(letter, 1, 6), sub(letter, 48, 55)
  local h = call('HGET', JOB, seq6)
  if h and #h > 71 and string.find(h, token8, 15, true) == 15 then
    local format, kind, version = unpackn('>BBI4', h)
    local head, id, queue = unpackn('>I4BB', h, 65)
    if format == 1 and kind == 1 and version + 1 == unpackn('>I4', letter, 9) and 70 + id + queue <= head
      and head + byte(h, 31) <= #h then
      local to = byte(letter, 8)
      local digit, changed = char(48 + to), sub(letter, 8, 12)
      local timers = call('ZCARD', TIMERS)
      local chunk, at = unpackn('>I5B', seq6)
      local key, value, listed, unlisted = remark_one(chunk, at, '1', digit)

      -- The first write looks at its own key.
      local claimed = (M[5] or 0) - 1
      call('ZADD', P .. 'f' .. digit, S(now), seq6)
      local gone = call('ZREM', TIMERS, seq6)
      if gone == 0 then unready(h, seq6) end
      -- As drop_timers() in runs.lua.
      if timers > gone and claimed + (M[9] or 0) + (M[10] or 0) == 0 then call('DEL', TIMERS) end
      call('HSET', JOB, seq6, '\1' .. changed .. sub(h, 7, 14) .. string.rep('\0', 8) .. pack('>I8', now) .. '\0'
        .. token8 .. changed .. sub(h, 45, 60) .. ARGV[11])
      call('SET', key, value)
      if unlisted then call('ZREM', P .. 'd1', unlisted) end
      if listed then call('ZADD', P .. 'd' .. digit, listed, listed) end
      call('HSET', META, 'c1', S(claimed), 'c' .. digit, S((M[4 + to] or 0) + 1))
      return ''
    end
  end
end
