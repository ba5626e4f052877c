#!lua flags=allow-oom
-- include: base record commit locks place fail takeover order
--
-- Claims up to `limit` available jobs in claim order [Q8, Q11, Q24..Q26, L1, L2, L4].
--
-- ARGV 1 limit (1..1000)  2 lock length, µs  3 max_crashes  4 worker id  5 JSON of the state behind started_at
--      6 slot  7 request, 8 bytes  8 "1" when this is a re-send  9 milliseconds to remember it  10 most bytes
--      11.. queues; none is all
-- Returns {first token, expires, again, record, body, record, body, ..}. The tokens count up from the first. `again` is 1
-- when the script stopped at its bound before it had looked at every candidate.
-- Writes: the taken-over wave, then the claimed jobs; nothing at all when there is neither.
local limit, crashes = tonumber(ARGV[1]), tonumber(ARGV[3])
local worker, slot, request = ARGV[4], ARGV[6], ARGV[7]
local cap = tonumber(ARGV[10])

local function bodies_of(ids)
  local out = {}
  for from = 1, #ids, 100 do
    local part = call('HMGET', BODY, unpack(ids, from, math.min(from + 99, #ids)))
    for _, body in ipairs(part) do out[#out + 1] = body or '' end
  end
  return out
end

local function answer(first, expires, more, records, ids)
  local reply = {S(first), expires, more}
  for i, body in ipairs(bodies_of(ids)) do
    reply[#reply + 1] = records[i]
    reply[#reply + 1] = body
  end
  return reply
end

if ARGV[8] == '1' then
  local kept = recall(slot, request)
  if kept then
    -- The first sending arrived: its jobs, as far as they are still under its tokens.
    local first, expires = unpackn('>I8I8', kept)
    local records, ids, order = {}, {}, {}
    for at = 17, #kept, 6 do order[#order + 1] = sub(kept, at, at + 5) end
    for i, h in ipairs(call('HMGET', JOB, unpack(order))) do
      local mine = sound(h) and byte(h, 2) == 1 and unpackn('>I8', h, 15) == first + i - 1
      records[i], ids[i] = mine and h or '', mine and id_of(h) or ''
    end
    return answer(first, S(expires), 0, records, ids)
  end
end

takeover(math.max(100, limit), crashes)

local expires_at = S(now + ARGV[2])
local expires8 = pack('>I8', now + ARGV[2])
local state = worker .. '{"started_at":' .. S(now) .. ARGV[5]
local nworker = char(#worker)
local step = walk(queues_of(11), limit)
local taken, order, records, ids = {}, {}, {}, {}
local bytes, seen, more, full = 0, 0, 0, false
local first

while #records < limit and not full do
  if seen >= limit + 1000 then
    more = 1
    break
  end
  local members, queues = {}, {}
  for i = 1, math.min(limit - #records, 100) do
    local queue, member = step()
    if not queue then break end
    queues[i], members[i] = queue, sub(member, 8)
  end
  if #members == 0 then break end
  seen = seen + #members
  local heads = call('HMGET', JOB, unpack(members))
  for i, h in ipairs(heads) do
    local seq6, queue = members[i], queues[i]
    if not sound(h) then
      if h then spoil(seq6) end
    else
      local _, kind, version, attempt, crash, _, expires = unpackn('>BBI4I4I4I8I8', h)
      if kind == 1 and expires > now then
        -- The clock went back since the lapse: the lock lives again.
        later(S(expires), seq6)
      elseif kind == 1 and crash + 1 >= crashes then
        crash_fail(h, seq6)
      else
        local size = #h + unpackn('>I4', h, 60)
        if bytes > 0 and bytes + size > cap then
          full = true
          break
        end
        bytes = bytes + size
        if not first then first = math.max((M[3] or 0) + 1, now) end
        local n = #records + 1
        local new = '\1\1' .. pack('>I4I4I4I8', version + 1, attempt + 1, kind == 1 and crash + 1 or crash, first + n - 1)
          .. expires8 .. sub(h, 31, 65) .. nworker .. sub(h, 67, until_worker(h)) .. state
        jobs[#jobs + 1] = seq6
        jobs[#jobs + 1] = new
        later(expires_at, seq6)
        mark(kind, seq6, -1)
        mark(1, seq6, 1)
        records[n], ids[n], order[n] = new, id_of(h), seq6
      end
    end
    taken[queue] = (taken[queue] or 0) + 1
  end
end

if next(taken) == nil then return {'0', '0', 0} end
if first then M[3] = first + #records - 1 end
local reply = answer(first or 0, expires_at, more, records, ids)
check()
call('EXISTS', P .. 'r:' .. slot)
for queue, count in pairs(taken) do
  local key = P .. 'q:' .. queue
  call('ZREMRANGEBYRANK', key, 0, count - 1)
  if call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
end
write()
if #records > 0 then
  call('SET', P .. 'r:' .. slot, request .. pack('>I8', first) .. expires8 .. table.concat(order), 'PX', ARGV[9])
end
return reply
