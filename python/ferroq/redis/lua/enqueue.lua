#!lua
-- include: base record commit locks
--
-- Stores new jobs, all or none [Q1, Q12].
--
-- ARGV 1 "skip" | "error" | "check" (looks for ids that exist, and stores nothing)  2 length of a claim lock, µs
--      3 kinds that are not kept, as digits  then two a job: its record, as a version 1 without lock, and its body
-- Returns {"exists", position..} or {"locked", position..} (nothing stored), or {"ok", now, first sequence, first token,
-- expires, positions that were skipped..}; sequences and tokens count up over the jobs that took one.
local mode, lock, unkept = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local ids, exists, out = {}, {}, {}
for i = 4, #ARGV, 2 do ids[#ids + 1] = id_of(ARGV[i]) end
for i, id in ipairs(ids) do
  -- Not HMGET: it would copy the bodies of jobs that exist, whatever their size.
  if call('HEXISTS', BODY, id) == 1 then
    exists[i] = true
    out[#out + 1] = i
  end
end
if mode ~= 'skip' and #out > 0 then return {'exists', unpack(out)} end
if mode == 'check' then return {'exists'} end

local locks = locks_on(ids)
if locks then
  local locked = {}
  for i, held in ipairs(locks) do
    local h = ARGV[2 + 2 * i]
    if held and not exists[i] and byte(h, 2) == 1 and holder_of(held) ~= worker_of(h) then locked[#locked + 1] = i end
  end
  if #locked > 0 then return {'locked', unpack(locked)} end
end

local first = (M[2] or 0) + 1
local seq = first - 1
local token
local due8 = pack('>I8', now)
local expires8 = pack('>I8', now + lock)
local bound = {}
for i, id in ipairs(ids) do
  if not exists[i] then
    local h, body = ARGV[2 + 2 * i], ARGV[3 + 2 * i]
    local kind = byte(h, 2)
    seq = seq + 1
    local seq6 = pack('>I6', seq)
    if kind == 1 then
      token = tokens(1)
      if out.token == nil then out.token = token end
      h = sub(h, 1, 14) .. pack('>I8', token) .. expires8 .. sub(h, 31, 43) .. due8 .. sub(h, 52)
      later(S(now + lock), seq6)
    elseif kind == 0 then
      h = sub(h, 1, 43) .. due8 .. sub(h, 52)
      if not (locks and locks[i]) then enter(h, seq6, true) end
    elseif kind > 4 then
      local due = unpackn('>I8', h, 44)
      later(S(due), seq6)
      if due <= now then wakes[queue_of(h)] = (wakes[queue_of(h)] or 0) + 1 end
    end
    if not string.find(unkept, kind, 1, true) then
      if kind > 1 and kind < 5 then into(done, kind, S(now), seq6) end
      jobs[#jobs + 1] = seq6
      jobs[#jobs + 1] = h
      bodies[#bodies + 1] = id
      bodies[#bodies + 1] = seq6 .. body
      mark(kind, seq6, 1)
      if any_lock then bound[#bound + 1] = {id, seq6} end
    end
  end
end
M[2] = seq
check()
if seq >= first then write() end
for _, pair in ipairs(bound) do
  -- The lock was there first: from now on it knows its job, so that its end finds it.
  local value = call('HGET', LOCKS, pair[1])
  if value then call('HSET', LOCKS, pair[1], sub(value, 1, 8) .. pair[2] .. sub(value, 15)) end
end
return {'ok', S(now), S(first), S(out.token or 0), S(now + lock), unpack(out)}
