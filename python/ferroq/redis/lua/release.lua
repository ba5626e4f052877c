#!lua flags=allow-oom
-- include: base runs record commit locks
--
-- Gives claims back unspent, by token [Q15]. An id must not come twice in one call.
--
-- ARGV 1 delay, µs, or "" for none  then three a job: six bytes where it may lie, id, token.
-- Returns {now, text, state..}; text has 18 bytes a job: "1", "0", or "2" for a repeat, then the record's bytes 3..14
-- (version, attempt, crash_count) and 2 (kind), and four of retry_count. A state for each repeat, in order: the stored one,
-- or "" where the job has moved on since.
local delay = ARGV[1] ~= '' and tonumber(ARGV[1])
local to = delay and 5 or 0
local state = delay
  and '{"scheduled_at":' .. S(now) .. ',"enqueue_at":' .. S(now + delay) .. ',"reason":"released"}'
  or '{"enqueued_at":' .. S(now) .. '}'
local REFUSED = '0' .. string.rep('\0', 17)
local count = (#ARGV - 1) / 3
local fields, ids, heads, out = {}, {}, {}, {}
for i = 1, count do fields[i], ids[i] = ARGV[3 * i - 1], ARGV[3 * i] end
for from = 1, count, 100 do
  local part = call('HMGET', JOB, unpack(fields, from, math.min(from + 99, count)))
  for i = 1, #part do heads[from + i - 1] = part[i] end
end
for i = 1, count do
  if not sound(heads[i]) or id_of(heads[i]) ~= ids[i] then
    local body = call('HGET', BODY, ids[i])
    fields[i] = body and seq_of(body)
    heads[i] = body and call('HGET', JOB, fields[i]) or nil
    if sound(heads[i]) and id_of(heads[i]) ~= ids[i] then heads[i] = nil end
  end
end
local locks = locks_on(ids)
local states, to1 = {}, char(to)
local fresh = '\1' .. to1
local due8 = delay and pack('>I8', now + delay)
local due = delay and S(now + delay)
for i = 1, count do
  local h, seq6, token = heads[i], fields[i], tonumber(ARGV[3 * i + 1])
  out[i] = REFUSED
  if sound(h) then
    local _, kind, version, attempt, _, held, _, _, trace, trace_kind = unpackn('>BBI4I4I4I8I8BI8B', h)
    if kind == 1 and held == token then
      local version4 = pack('>I4', version + 1)
      local counts = pack('>I4', math.max(attempt - 1, 0)) .. sub(h, 11, 14)
      local new = fresh .. version4 .. counts .. Z17 .. sub(h, 15, 22) .. to1 .. version4 .. (due8 or sub(h, 45, 52))
        .. sub(h, 53, until_worker(h)) .. state
      leave(h, seq6)
      mark(seq6, 1, to)
      jobs[#jobs + 1] = seq6
      jobs[#jobs + 1] = new
      if delay then
        later(due, seq6)
      elseif not (locks and locks[i]) then
        enter(new, seq6, true)
      end
      out[i] = '1' .. version4 .. counts .. to1 .. sub(h, 53, 56)
    elseif trace == token and trace_kind == to then
      out[i] = '2' .. sub(h, 41, 44) .. sub(h, 7, 14) .. to1 .. sub(h, 53, 56)
      states[#states + 1] = kind == to and sub(h, until_worker(h) + byte(h, 31) + 1) or ''
    end
  end
end
if #jobs > 0 then
  check()
  write()
end
return {S(now), table.concat(out), unpack(states)}
