-- Settlements to succeeded or deleted, all to one kind that is kept, of jobs that are as their holders know them, under tokens
-- that are in force. Tokens are unique in the store: under its token a job is the right one wherever its record
-- lay.
if ARGV[7] ~= '' and tonumber(ARGV[7]) > now then
  local count, letter, same, find = tonumber(ARGV[6]), ARGV[8], ARGV[10], string.find
  local seq6s, heads, jobs, n, fine = {}, {}, {}, 0, true
  for i = 1, count do seq6s[i] = sub(letter, 63 * i - 62, 63 * i - 57) end
  for from = 1, count, 100 do
    local part = call('HMGET', JOB, unpack(seq6s, from, math.min(from + 99, count)))
    for i = 1, #part do heads[from + i - 1] = part[i] end
  end
  local to, behind = byte(letter, 8), string.rep('\0', 8) .. pack('>I8', now) .. '\0'
  local front, trace = same .. behind, sub(same, 2, 6)
  for i = 1, count do
    local h = heads[i]
    if not h or find(h, sub(letter, 63 * i - 29, 63 * i), 1, true) ~= 1 or #h < 72 then
      fine = false
      break
    end
    local head, id, queue = unpackn('>I4BB', h, 65)
    if 70 + id + queue > head or head > #h then
      fine = false
      break
    end
    if same == '' then
      front = sub(letter, 63 * i - 56, 63 * i - 43)
      front, trace = front .. behind, sub(front, 2, 6)
    end
    jobs[n + 1], jobs[n + 2] = seq6s[i], front .. sub(h, 15, 22) .. trace .. sub(h, 45, 60) .. ARGV[10 + i]
    n = n + 2
  end
  if fine then
    local runs, ends, job = {}, {}, 1
    for at = 1, #ARGV[9], 7 do
      local chunk, place, others = unpackn('>I5BB', ARGV[9], at)
      runs[#runs + 1], runs[#runs + 2], runs[#runs + 3] = chunk, place, others + 1
      ends[#ends + 1] = unpackn('>I8', heads[job], 23)
      job = job + others + 1
    end
    local timers = call('ZCARD', TIMERS)
    local values, listed, unlisted = remark(runs, 1, to)
    -- The first write looks at its own key.
    call('ZADD', P .. 'f' .. to, unpack(members_at(S(now), runs)))
    local claimed = (M[5] or 0) - count
    local all = stop_timers(runs, ends, seq6s)
    if not all then unready_all(heads, seq6s) end
    if not all or timers > #ends then drop_timers(claimed) end
    call('HSET', JOB, unpack(jobs))
    for i = 1, #values, 2 do call('SET', values[i], values[i + 1]) end
    if #unlisted > 0 then call('ZREM', P .. 'd1', unpack(unlisted)) end
    if #listed > 0 then call('ZADD', P .. 'd' .. to, unpack(listed)) end
    call('HSET', META, 'c1', S(claimed), 'c' .. to, S((M[4 + to] or 0) + count))
    return ''
  end
end
