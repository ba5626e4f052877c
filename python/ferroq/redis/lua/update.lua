#!lua flags=allow-oom
-- include: base record commit locks place
--
-- Replaces stored jobs [Q3, Q13, L3]. An id must not come twice in one call.
--
-- ARGV 1 length of a claim lock, µs  2 kinds that are not kept, as digits  3 slot, or "" when a re-send needs no memory
--      4 request, 8 bytes  5 "1" when this is a re-send  6 milliseconds to remember it
--      then one a job: six bytes where it may lie (its sequence as the caller knows it), and its record, in which version
--      and token are those that the caller holds
-- Returns 40 bytes a job: code, then the record's bytes 3..30 (version, attempt, crash_count, token, expires), 56..59
-- (retry_count), sequence, and 1 when a claim lock was taken.
-- Codes: 0 done, 1 not found, 2 lock lost, 3 locked, 4 stale version, 5 not a record.
local lock, unkept, slot, request = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
if ARGV[5] == '1' and slot ~= '' then
  local kept = recall(slot, request)
  if kept then return kept end
end

local REFUSED = string.rep('\0', 39)
local count = #ARGV - 6
local fields, ids, heads = {}, {}, {}
for i = 1, count do
  local arg = ARGV[6 + i]
  fields[i], ids[i] = sub(arg, 1, 6), id_of(sub(arg, 7))
end
for from = 1, count, 100 do
  for i, h in ipairs(call('HMGET', JOB, unpack(fields, from, math.min(from + 99, count)))) do heads[from + i - 1] = h end
end
for i = 1, count do
  local h = heads[i]
  if not sound(h) or id_of(h) ~= ids[i] then
    -- The caller does not know where the job lies (or it is another one of that id by now).
    local body = call('HGET', BODY, ids[i])
    if body then
      fields[i] = sub(body, 1, 6)
      heads[i] = call('HGET', JOB, fields[i])
    else
      heads[i] = nil
    end
  end
end
local locks = locks_on(ids)

local out, dropped = {}, false
local expires8 = pack('>I8', now + lock)
local now8 = pack('>I8', now)
for i = 1, count do
  local a, h, seq6 = sub(ARGV[6 + i], 7), heads[i], fields[i]
  local code = 0
  if not h then
    code = 1
  elseif not sound(h) then
    code = 5
  else
    local _, kind, version, attempt, crash, token, expires = unpackn('>BBI4I4I4I8I8', h)
    local to, held = byte(a, 2), unpackn('>I8', a, 15)
    local repeated = false
    if held > 0 then
      if kind ~= 1 or token ~= held then
        local trace, trace_kind = unpackn('>I8B', h, 31)
        if trace == held and trace_kind == to then repeated = true else code = 2 end
      end
    elseif kind == 1 and expires > now and to ~= 4 then
      code = 3
    elseif version ~= unpackn('>I4', a, 3) then
      code = 4
    elseif to == 1 and kind ~= 1 and locks and locks[i] and holder_of(locks[i]) ~= worker_of(a) then
      code = 3
    end
    if repeated then
      out[i] = '\0' .. sub(h, 40, 43) .. sub(h, 7, 14) .. Z16 .. sub(h, 56, 59) .. seq6 .. '\0'
    elseif code == 0 then
      local version4 = pack('>I4', version + 1)
      local counts, claim, due8, retry4 = sub(h, 7, 14), Z16, sub(h, 44, 51), sub(h, 56, 59)
      local trace = sub(h, 31, 43)
      if to == 1 then
        if kind == 1 then
          claim = sub(h, 15, 30)
        else
          claim = pack('>I8', tokens(1)) .. expires8
          counts = pack('>I4I4', attempt + 1, crash)
        end
      elseif kind == 1 then
        trace = (held > 0 and sub(h, 15, 22) or Z8) .. char(to) .. version4
      end
      if to == 0 then
        if kind ~= 0 then due8 = now8 end
        if kind == 3 then
          counts = sub(h, 7, 10) .. '\0\0\0\0'
          retry4 = '\0\0\0\0'
        end
      elseif to > 4 then
        due8 = sub(a, 44, 51)
      end
      if to == 3 or to == 6 then retry4 = sub(a, 56, 59) end
      local new = char(1, to) .. version4 .. counts .. claim .. trace .. due8 .. sub(a, 52, 55) .. retry4 .. sub(h, 60, 63)
        .. sub(a, 64)
      out[i] = '\0' .. sub(new, 3, 30) .. retry4 .. seq6 .. (to == 1 and kind ~= 1 and '\1' or '\0')
      local stays = kind == to and kind > 1 and kind < 5
      if not stays then leave(h, seq6) end
      mark(kind, seq6, -1)
      if string.find(unkept, to, 1, true) and kind ~= to then
        gone[#gone + 1] = seq6
        gone_ids[#gone_ids + 1] = ids[i]
        dropped = true
      else
        jobs[#jobs + 1] = seq6
        jobs[#jobs + 1] = new
        mark(to, seq6, 1)
        if to == 1 or to > 4 then
          local instant = unpackn('>I8', new, to == 1 and 23 or 44)
          if not (locks and locks[i] and instant <= now) then later(S(instant), seq6) end
          if to ~= 1 and instant <= now then wakes[queue_of(new)] = (wakes[queue_of(new)] or 0) + 1 end
        elseif to == 0 then
          if not (locks and locks[i]) then enter(new, seq6, true) end
        elseif not stays then
          into(done, to, S(now), seq6)
        end
      end
    end
  end
  if not out[i] then out[i] = char(code) .. REFUSED end
end

local reply = table.concat(out)
if #jobs > 0 or #gone > 0 then
  check()
  if slot ~= '' then call('EXISTS', P .. 'r:' .. slot) end
  write()
  if slot ~= '' then call('SET', P .. 'r:' .. slot, request .. reply, 'PX', ARGV[6]) end
end
return reply
