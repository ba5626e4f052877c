#!lua flags=allow-oom
-- include: base quick_one quick_claim_one runs quick quick_claim recall record commit locks place fail takeover order
--
-- Claims up to `limit` available jobs in claim order [Q8, Q11, Q24..Q26, L1, L2, L4].
--
-- ARGV 1 limit (1..1000)  2 lock length, µs  3 max_crashes  4 worker id  5 JSON of the state behind started_at
--      6 slot  7 request, 8 bytes  8 milliseconds to remember it  9 most bytes  10.. queues; none is all
-- Returns {first token, expires, again, sequences, record, body, record, body, ..}. The tokens count up from the first. `again` is 1
-- when the script stopped at its bound before it had looked at every candidate.
-- Writes: the taken-over wave, then the claimed jobs; nothing at all when there is neither.
local limit, crashes = tonumber(ARGV[1]), tonumber(ARGV[3])
local worker, slot, request = ARGV[4], ARGV[6], ARGV[7]
local cap = tonumber(ARGV[9])

local function bodies_of(ids)
  local out = {}
  for from = 1, #ids, 100 do
    local part = call('HMGET', BODY, unpack(ids, from, math.min(from + 99, #ids)))
    for _, body in ipairs(part) do out[#out + 1] = body or '' end
  end
  return out
end

local function answer(first, expires, more, order, records, ids)
  local reply = {S(first), expires, more, table.concat(order)}
  for i, body in ipairs(bodies_of(ids)) do
    reply[#reply + 1] = records[i]
    reply[#reply + 1] = body
  end
  return reply
end

-- Whichever of its sendings comes first claims; a later one, even the first, gets the same jobs, as far as they are still
-- under its tokens.
local kept = recall(slot, request)
if kept then
  local first, expires = unpackn('>I8I8', kept)
  local records, ids, order = {}, {}, {}
  for at = 17, #kept, 6 do order[#order + 1] = sub(kept, at, at + 5) end
  for i, h in ipairs(call('HMGET', JOB, unpack(order))) do
    local mine = sound(h) and byte(h, 2) == 1 and unpackn('>I8', h, 15) == first + i - 1
    records[i], ids[i] = mine and h or '', mine and id_of(h) or ''
  end
  return answer(first, S(expires), 0, order, records, ids)
end

takeover(math.max(100, limit), crashes, false, function() return queues_of(10) end)

local expires_at = S(now + ARGV[2])
local expires8 = pack('>I8', now + ARGV[2])
local held = expires8 .. char(#worker)
local state = worker .. '{"started_at":' .. S(now) .. ARGV[5]
local names = queues_of(10)
local single = names[1] and not names[2] and names[1]
local step = not single and walk(names, limit)
local taken, order, records, ids, count, _ = {}, {}, {}, {}, 0, nil
local bytes, seen, more, full = 0, 0, 0, false
local first = math.max((M[3] or 0) + 1, now)

-- The next candidates: where they stand in the ready set, and of which queues, unless it is all of one.
local function candidates(most)
  if single then return call('ZRANGE', P .. 'q:' .. single, seen, seen + most - 1) end
  local members, queues = {}, {}
  for i = 1, most do
    local queue, member = step()
    if not queue then break end
    queues[i], members[i] = queue, member
  end
  return members, queues
end

while count < limit and not full do
  if seen >= limit + 1000 then
    more = 1
    break
  end
  local members, queues = candidates(math.min(limit - count, 100))
  if #members == 0 then break end
  seen = seen + #members
  local seq6s, used = {}, #members
  for i = 1, #members do seq6s[i] = sub(members[i], 8) end
  local heads = call('HMGET', JOB, unpack(seq6s))
  for i = 1, #members do
    local h, seq6 = heads[i], seq6s[i]
    local format, kind, version, attempt, crash, expires, size, head, id, queue
    if h and #h > 71 then
      local wide
      format, kind, version, attempt, crash, _, expires, wide = unpackn('>BBI4I4I4I8I8B', h)
      size, _, head, id, queue = unpackn('>I4i4I4BB', h, 57)
      -- As sound() does, of what has been read anyway.
      if format ~= 1 or kind > 6 or 70 + id + queue > head or head + wide > #h then kind = nil end
    end
    if not kind then
      spoil(seq6)
    else
      local instant = kind == 1 and expires or kind > 4 and unpackn('>I8', h, 45) or now
      if kind > 1 and kind < 5 then
        -- Finished: it has no business here, and is out of it now.
      elseif instant > now then
        -- The clock went back since it lapsed or came due.
        later(S(instant), seq6)
      elseif kind == 1 and crash + 1 >= crashes then
        crash_fail(h, seq6)
      else
        size = size + #h
        if bytes > 0 and bytes + size > cap then
          full, used = true, i - 1
          break
        end
        bytes = bytes + size
        local new = '\1\1' .. pack('>I4I4I4I8', version + 1, attempt + 1, kind == 1 and crash + 1 or crash, first + count)
          .. held .. sub(h, 32, head) .. state
        count = count + 1
        jobs[#jobs + 1] = seq6
        jobs[#jobs + 1] = new
        later(expires_at, seq6)
        if kind ~= 1 then mark(seq6, kind, 1) end
        records[count], ids[count], order[count] = new, sub(h, 71, 70 + id), seq6
      end
    end
  end
  if single then
    taken[single] = (taken[single] or 0) + used
  else
    for i = 1, used do taken[queues[i]] = (taken[queues[i]] or 0) + 1 end
  end
end

if next(taken) == nil then return {'0', '0', 0, ''} end
if count > 0 then M[3] = first + count - 1 end
local reply = answer(count > 0 and first or 0, expires_at, more, order, records, ids)
check()
call('ZCARD', QUEUES)
for queue, count in pairs(taken) do
  local key = P .. 'q:' .. queue
  call('ZREMRANGEBYRANK', key, 0, count - 1)
  if call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
end
write()
if count > 0 then
  call('SET', P .. 'r:' .. slot, request .. pack('>I8', first) .. expires8 .. table.concat(order), 'PX', ARGV[8])
end
return reply
