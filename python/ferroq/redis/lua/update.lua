#!lua flags=allow-oom
-- include: base quick_one quick_settle_one runs quick quick_settle tokens recall record commit locks place
--
-- Replaces stored jobs [Q3, Q13, L3]. An id must not come twice in one call.
--
-- ARGV 1 length of a claim lock, µs  2 kinds that are not kept, as digits  3 slot, or "" when a re-send needs no memory
--      4 request, 8 bytes  5 milliseconds to remember it  6 how many jobs
--      7 where all are settlements under a token to one kind, succeeded or deleted: the earliest expiry of their claims,
--      else ""  8 the letter, 63 bytes a job: its sequence as the caller knows it; how the record is to begin, 14 bytes; B
--      length of the worker, I8 due, I4 retry_count; how the record begins if the claim is as the caller knows it, 30 bytes
--      9 with 7, the sequences as runs, 7 bytes each, those apart whose claims end at different times  10 how all records are
--      to begin, or "" where they differ  11.. what follows the 60th byte of each record
-- Returns "" when all were settled as the caller knew them; else 52 bytes a job: code, then the record's bytes 3..30
-- (version, attempt, crash_count, token, expires), 45..60 (due, retry_count, size), sequence, and 1 when a claim lock was
-- taken.
-- Codes: 0 done, 1 not found, 2 lock lost, 3 locked, 4 stale version, 5 not a record.
local lock, slot, request, count = tonumber(ARGV[1]), ARGV[3], ARGV[4], tonumber(ARGV[6])
if slot ~= '' then
  local kept = recall(slot, request)
  if kept then return kept end
end
local unkept = {}
for i = 1, #ARGV[2] do unkept[byte(ARGV[2], i) - 48] = true end

local REFUSED = string.rep('\0', 51)
local Z16 = string.rep('\0', 16)
local letter, heads, where = ARGV[8], {}, {}
for i = 1, count do where[i] = sub(letter, 63 * i - 62, 63 * i - 57) end
for from = 1, count, 100 do
  local part = call('HMGET', JOB, unpack(where, from, math.min(from + 99, count)))
  for i = 1, #part do heads[from + i - 1] = part[i] end
end
local out, n = {}, 0
local now8, instant_now = pack('>I8', now), S(now)
local ids = {}
for i = 1, count do
  local h, tail, seq6 = heads[i], ARGV[10 + i], where[i]
  local id = sub(tail, 11, 10 + byte(tail, 9))
  if not sound(h) or id_of(h) ~= id then
    -- The caller does not know where the job lies (or it is another one of that id by now).
    local body = call('HGET', BODY, id)
    h = nil
    if body then
      seq6 = seq_of(body)
      h = call('HGET', JOB, seq6)
      if not sound(h) or id_of(h) ~= id then h = '' end
    end
    heads[i] = h
  end
  ids[i], where[i] = id, seq6
end
local locks = locks_on(ids)
local expires8 = pack('>I8', now + lock)
for i = 1, count do
  local h, tail, seq6 = heads[i], ARGV[10 + i], where[i]
  local code = 0
  if not h then
    code = 1
  elseif not sound(h) then
    code = 5
  else
    local _, kind, version, attempt, crash, token, expires = unpackn('>BBI4I4I4I8I8', h)
    local at = 63 * i - 62
    local to, after, _, _, wide = unpackn('>BI4I4I4B', letter, at + 7)
    local held, known = unpackn('>I8', letter, at + 47), after - 1
    local repeated = false
    if held > 0 then
      if kind ~= 1 or token ~= held then
        local trace, trace_kind = unpackn('>I8B', h, 32)
        if trace == held and trace_kind == to then repeated = true else code = 2 end
      end
    elseif kind == 1 and expires > now and to ~= 4 then
      code = 3
    elseif version ~= known then
      code = 4
    elseif to == 1 and kind ~= 1 and locks and locks[i] then
      local worker = unpackn('>I4', tail, 5) - 60
      if holder_of(locks[i]) ~= sub(tail, worker + 1, worker + wide) then code = 3 end
    end
    if repeated then
      out[i] = '\0' .. sub(h, 41, 44) .. sub(h, 7, 14) .. Z16 .. sub(h, 45, 60) .. seq6 .. '\0'
    elseif code == 0 then
      local version4, to1 = pack('>I4', version + 1), char(to)
      local counts, retry4 = sub(h, 7, 14), (to == 3 or to == 6) and sub(letter, at + 29, at + 32) or sub(h, 53, 56)
      -- A kept claim's timer and a finished job's place in the order of finish stay.
      local stays = kind == to and (kind == 1 and expires > now or kind > 1 and kind < 5)
      local claim, trace, due8 = Z16, nil, nil
      if to == 1 then
        if kind == 1 then
          claim = sub(h, 15, 30)
        else
          claim = pack('>I8', tokens(1)) .. expires8
          counts = pack('>I4I4', attempt + 1, crash)
        end
      elseif to > 1 and to < 5 then
        claim = Z8 .. (stays and sub(h, 23, 30) or now8)
      end
      if kind == 1 and to ~= 1 then
        trace = (held > 0 and sub(h, 15, 22) or Z8) .. to1 .. version4
      else
        trace = sub(h, 32, 44)
      end
      if to > 4 then
        due8 = sub(letter, at + 21, at + 28)
      elseif to == 0 and kind ~= 0 then
        due8 = now8
      else
        due8 = sub(h, 45, 52)
      end
      if to == 0 and kind == 3 then
        counts = sub(h, 7, 10) .. '\0\0\0\0'
        retry4 = '\0\0\0\0'
      end
      local middle = due8 .. retry4 .. sub(h, 57, 60)
      local new = '\1' .. to1 .. version4 .. counts .. claim .. char(wide) .. trace .. middle .. tail
      out[i] = '\0' .. version4 .. counts .. claim .. middle .. seq6 .. (to == 1 and kind ~= 1 and '\1' or '\0')
      if not stays then leave(h, seq6) end
      if unkept[to] and kind ~= to then
        gone[#gone + 1] = seq6
        gone_ids[#gone_ids + 1] = ids[i]
        mark(seq6, kind, nil)
      else
        jobs[n + 1], jobs[n + 2] = seq6, new
        n = n + 2
        if kind ~= to then mark(seq6, kind, to) end
        if stays then
          -- Nothing to move.
        elseif to == 1 or to > 4 then
          local instant = unpackn('>I8', new, to == 1 and 23 or 45)
          if not (locks and locks[i] and instant <= now) then later(S(instant), seq6) end
          if to ~= 1 and instant <= now then wakes[queue_of(new)] = (wakes[queue_of(new)] or 0) + 1 end
        elseif to == 0 then
          if not (locks and locks[i]) then enter(new, seq6, true) end
        else
          into(done, to, instant_now, seq6)
        end
      end
    end
  end
  if not out[i] then out[i] = char(code) .. REFUSED end
end

local reply = table.concat(out)
if #jobs > 0 or #gone > 0 then
  check()
  write()
  if slot ~= '' then call('SET', P .. 'r:' .. slot, request .. reply, 'PX', ARGV[5]) end
end
return reply
