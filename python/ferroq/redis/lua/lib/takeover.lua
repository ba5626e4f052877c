-- Brings what came due or lapsed into the ready sets, in order of its times, at most `budget` of it [Q26].
-- `crashes` is the limit that fails a job; nil moves such jobs too and changes none.
local function takeover(budget, crashes)
  local wave = call('ZRANGE', TIMERS, '-inf', S(now), 'BYSCORE', 'LIMIT', 0, budget)
  if #wave == 0 then return end
  local fields, freed, seen = {}, {}, {}
  for _, member in ipairs(wave) do
    if byte(member) == 120 then freed[#freed + 1] = sub(member, 2) else fields[#fields + 1] = member end
  end
  local unlocked = {}
  if #freed > 0 then
    local locks = call('HMGET', LOCKS, unpack(freed))
    for i, lock in ipairs(locks) do
      unlocked[#unlocked + 1] = freed[i]
      if lock and sub(lock, 9, 14) ~= '\0\0\0\0\0\0' then fields[#fields + 1] = sub(lock, 9, 14) end
    end
  end
  local drop = {}
  if #fields > 0 then
    local heads = call('HMGET', JOB, unpack(fields))
    local ids = {}
    for i, h in ipairs(heads) do ids[i] = sound(h) and id_of(h) or '' end
    local locks = locks_on(ids)
    for i, h in ipairs(heads) do
      local seq6 = fields[i]
      local kind = sound(h) and byte(h, 2)
      if seen[seq6] then
        -- Its lock and its own time came in one wave.
      elseif not h then
        drop[#drop + 1] = seq6
      elseif not kind then
        if crashes then
          spoil(seq6)
          drop[#drop + 1] = seq6
        end
      elseif locks and locks[i] then
        drop[#drop + 1] = seq6
      elseif kind == 0 then
        enter(h, seq6)
      elseif kind == 1 and unpackn('>I8', h, 23) <= now then
        drop[#drop + 1] = seq6
        if crashes and unpackn('>I4', h, 11) + 1 >= crashes then
          crash_fail(h, seq6)
        else
          enter(h, seq6)
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
  if #unlocked > 0 then
    call('HDEL', LOCKS, unpack(unlocked))
    for _, id in ipairs(unlocked) do drop[#drop + 1] = 'x' .. id end
  end
  if #drop > 0 then call('ZREM', TIMERS, unpack(drop)) end
  write()
  again()
end
