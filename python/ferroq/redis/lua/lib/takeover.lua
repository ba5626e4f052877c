-- Brings what came due or lapsed into the ready sets, in order of its times, at most `budget` of it and the rest of a run
-- [Q26]; what waits for the end of an explicit lock on its id comes on top, at most a thousand ends at once.
-- `crashes` is the limit that fails a job; with `dry` none is failed and such ones stay where the next claim finds them.
-- `queues` gives those that the caller goes on to read.
local function takeover(budget, crashes, dry, queues)
  local fields, from_run, drop = due_timers(budget)
  local ended = any_lock and call('ZRANGE', ENDS, '-inf', S(now), 'BYSCORE', 'LIMIT', 0, 1000) or {}
  if #fields == 0 and #ended == 0 and #drop == 0 then return end
  local waves = #fields
  if #ended > 0 then
    for _, lock in ipairs(call('HMGET', LOCKS, unpack(ended))) do
      if lock and sub(lock, 9, 14) ~= '\0\0\0\0\0\0' then fields[#fields + 1] = sub(lock, 9, 14) end
    end
  end
  local seen = {}
  for from = 1, #fields, 100 do
    local heads = call('HMGET', JOB, unpack(fields, from, math.min(from + 99, #fields)))
    local ids = {}
    for i = 1, #heads do ids[i] = sound(heads[i]) and id_of(heads[i]) or '' end
    local locks = locks_on(ids)
    for i = 1, #heads do
      local h, seq6, run = heads[i], fields[from + i - 1], from_run[from + i - 1]
      local kind = sound(h) and byte(h, 2)
      if seen[seq6] then
        -- Its lock and its own time came in one wave.
      elseif not kind then
        if not dry then
          spoil(seq6)
          drop[#drop + 1] = seq6
        elseif run then
          later(S(now), seq6)
        end
      elseif locks and locks[i] then
        drop[#drop + 1] = seq6
      elseif kind == 0 then
        enter(h, seq6)
      elseif kind == 1 and unpackn('>I8', h, 23) <= now then
        if unpackn('>I4', h, 11) + 1 < crashes then
          drop[#drop + 1] = seq6
          enter(h, seq6)
        elseif not dry then
          drop[#drop + 1] = seq6
          crash_fail(h, seq6)
        elseif run then
          later(S(unpackn('>I8', h, 23)), seq6)
        elseif from + i - 1 > waves then
          place(h, seq6)
        end
      elseif kind > 4 and unpackn('>I8', h, 45) <= now then
        drop[#drop + 1] = seq6
        enter(h, seq6)
      elseif kind == 1 or kind > 4 then
        place(h, seq6)
      else
        drop[#drop + 1] = seq6
      end
      seen[seq6] = true
    end
  end
  check()
  -- What the caller will read is looked at before anything is written, too.
  call('HLEN', BODY)
  for _, queue in ipairs(queues and queues() or {}) do call('ZCARD', P .. 'q:' .. queue) end
  if #ended > 0 then
    call('HDEL', LOCKS, unpack(ended))
    call('ZREM', ENDS, unpack(ended))
  end
  -- Lua unpacks no more than some thousands at once.
  for from = 1, #drop, 1000 do call('ZREM', TIMERS, unpack(drop, from, math.min(from + 999, #drop))) end
  write()
  again()
end
