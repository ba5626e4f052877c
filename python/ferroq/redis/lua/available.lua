#!lua flags=allow-oom
-- include: base runs record commit locks place fail takeover order
--
-- A page of what claims would return now, in claim order [Q7]. It tidies the indexes as a claim does, and changes no job.
--
-- ARGV 1 how much of a wave to take over (0: none)  2 max_crashes  3 how many to look at (1..1000)  4 most bytes
--      5 score and 6 member to go on behind ("": from the start)
-- Returns {score, member to go on behind ("" at the end), six bytes of sequence, record, body, ..}.
local crashes, limit, cap = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[1] ~= '0' then takeover(tonumber(ARGV[1]), crashes, true) end

-- The rank of the first member of a queue behind the given place: ZCOUNT finds the score, halving the member.
local function behind(queue)
  local key, score = P .. 'q:' .. queue, ARGV[5]
  local due, number = unpackn('>I7I6', ARGV[6])
  local low = call('ZCOUNT', key, '-inf', '(' .. score)
  local high = call('ZCOUNT', key, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local its_due, its_number = unpackn('>I7I6', call('ZRANGE', key, middle, middle)[1])
    if its_due < due or (its_due == due and its_number <= number) then low = middle + 1 else high = middle end
  end
  return low
end

local step = walk(queues_of(7), limit, ARGV[6] ~= '' and behind or nil)
local out, bytes, looked = {'', ''}, 0, 0
local more = true
while more and looked < limit do
  local members, places, scores = {}, {}, {}
  for i = 1, math.min(limit - looked, 100) do
    local queue, member, score = step()
    if not queue then
      more = false
      break
    end
    members[i], places[i], scores[i] = sub(member, 8), member, score
  end
  if #members == 0 then break end
  for i, h in ipairs(call('HMGET', JOB, unpack(members))) do
    local seq6 = members[i]
    local fine = sound(h)
    local kind = fine and byte(h, 2)
    local not_now = kind == 1 and (unpackn('>I4', h, 11) + 1 >= crashes or unpackn('>I8', h, 23) > now)
      or kind and kind > 4 and unpackn('>I8', h, 45) > now
    if h and not not_now then
      local size = fine and #h + unpackn('>I4', h, 57) or #h
      if bytes > 0 and bytes + size > cap then
        looked = limit
        more = true
        break
      end
      bytes = bytes + size
      local body = #h > 72 and call('HGET', BODY, id_of(h)) or ''
      if not fine and sub(body, 1, 6) ~= seq6 then body = '' end
      out[#out + 1] = seq6
      out[#out + 1] = h
      out[#out + 1] = body
    end
    looked = looked + 1
    out[1], out[2] = S(scores[i]), places[i]
  end
end
if not more then out[2] = '' end
return out
