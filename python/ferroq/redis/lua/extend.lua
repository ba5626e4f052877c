#!lua flags=allow-oom
-- include: base runs record commit
--
-- Renews claims [Q14]. ARGV 1 length, µs  then three a job: six bytes where it may lie, id, token.
-- Returns {expires, "1" or "0" a job, as one text}.
local expires = now + ARGV[1]
local expires8, expires_at = pack('>I8', expires), S(expires)
local fields, heads, out, runs = {}, {}, {}, {}
local count = (#ARGV - 1) / 3
for i = 1, count do fields[i] = ARGV[3 * i - 1] end
for from = 1, count, 100 do
  for i, h in ipairs(call('HMGET', JOB, unpack(fields, from, math.min(from + 99, count)))) do heads[from + i - 1] = h end
end
for i = 1, count do
  local h, id, token = heads[i], ARGV[3 * i], tonumber(ARGV[3 * i + 1])
  if not sound(h) or id_of(h) ~= id then
    local body = call('HGET', BODY, id)
    fields[i] = body and seq_of(body)
    h = body and call('HGET', JOB, fields[i])
    if sound(h) and id_of(h) ~= id then h = nil end
  end
  if sound(h) and byte(h, 2) == 1 and unpackn('>I8', h, 15) == token then
    out[i] = '1'
    -- A lapsed one may have been taken over: it leaves its ready set and is held again.
    leave(h, fields[i])
    jobs[#jobs + 1] = fields[i]
    jobs[#jobs + 1] = sub(h, 1, 22) .. expires8 .. sub(h, 31)
    local chunk, at = unpackn('>I5B', fields[i])
    onto(runs, chunk, at)
  else
    out[i] = '0'
  end
end
if #jobs > 0 then
  soon = members_at(expires_at, runs)
  check()
  write()
end
return {expires_at, table.concat(out)}
