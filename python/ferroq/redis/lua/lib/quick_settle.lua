-- Settlements to succeeded or deleted, all to one kind that is kept, of jobs that nobody has changed since they were claimed,
-- under tokens that are in force. Tokens are unique in the store: under its token a job is the right one wherever its record
-- lay.
if ARGV[7] ~= '' and tonumber(ARGV[7]) > now then
  local count, letter, find = tonumber(ARGV[6]), ARGV[8], string.find
  local seq6s, heads, jobs, runs, n, fine = {}, {}, {}, {}, 0, true
  for i = 1, count do seq6s[i] = sub(letter, 32 * i - 31, 32 * i - 26) end
  for from = 1, count, 100 do
    local part = call('HMGET', JOB, unpack(seq6s, from, math.min(from + 99, count)))
    for i = 1, #part do heads[from + i - 1] = part[i] end
  end
  local to = byte(letter, 7)
  local to1, until_now = char(to), string.rep('\0', 8) .. pack('>I8', now) .. '\0'
  local front, trace, ends, like_version, like_attempt, like_crash
  for i = 1, count do
    local h, seq6 = heads[i], seq6s[i]
    local token8 = sub(letter, 32 * i - 20, 32 * i - 13)
    if not h or #h < 72 or find(h, token8, 15, true) ~= 15 then
      fine = false
      break
    end
    local format, kind, version, attempt, crash, expires = unpackn('>BBI4I4I4xxxxxxxxI8', h)
    local head, id, queue = unpackn('>I4BB', h, 65)
    if format ~= 1 or kind ~= 1 or version + 1 ~= unpackn('>I4', letter, 32 * i - 24)
      or 70 + id + queue > head or head + byte(h, 31) > #h then
      fine = false
      break
    end
    -- Mostly what the job before had.
    if version ~= like_version or attempt ~= like_attempt or crash ~= like_crash then
      local version4 = pack('>I4', version + 1)
      front, trace = '\1' .. to1 .. version4 .. pack('>I4I4', attempt, crash) .. until_now, to1 .. version4
      like_version, like_attempt, like_crash = version, attempt, crash
    end
    jobs[n + 1], jobs[n + 2] = seq6, front .. token8 .. trace .. sub(h, 45, 60) .. ARGV[8 + i]
    n = n + 2
    local chunk, at = unpackn('>I5B', seq6)
    onto(runs, chunk, at, expires ~= ends)
    ends = expires
  end
  if fine then
    call('ZCARD', TIMERS)
    local values, listed, unlisted = remark(runs, 1, to)
    -- The first write looks at its own key.
    call('ZADD', P .. 'f' .. to, unpack(members_at(S(now), runs)))
    local claimed = (M[5] or 0) - count
    if not stop_timers(runs, seq6s) then
      unready_all(heads, seq6s)
      drop_timers(claimed)
    end
    call('HSET', JOB, unpack(jobs))
    for i = 1, #values, 2 do call('SET', values[i], values[i + 1]) end
    if #unlisted > 0 then call('ZREM', P .. 'd1', unpack(unlisted)) end
    if #listed > 0 then call('ZADD', P .. 'd' .. to, unpack(listed)) end
    call('HSET', META, 'c1', S(claimed), 'c' .. to, S((M[4 + to] or 0) + count))
    return ''
  end
end
