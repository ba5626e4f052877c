#!lua flags=allow-oom
-- include: base runs record commit fail
--
-- Deletes finished jobs, longest finished first [Q17]. ARGV 1 limit (1..1000)  then two a kind: its digit, and how long
-- ago at least, µs. Returns {how many were deleted, 1 when there may be more}.
local limit = tonumber(ARGV[1])
local members = {}
for i = 2, #ARGV, 2 do
  local kind, until_ = tonumber(ARGV[i]), S(now - ARGV[i + 1])
  local list = call('ZRANGE', P .. 'f' .. kind, '-inf', until_, 'BYSCORE', 'LIMIT', 0, limit, 'WITHSCORES')
  for n = 1, #list, 2 do members[#members + 1] = {tonumber(list[n + 1]), list[n], kind, unpackn('>I6', list[n])} end
end
if #ARGV > 3 then table.sort(members, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[4] < b[4]) end) end
local found = {}
for _, each in ipairs(members) do
  if #found == limit then break end
  local score, member, kind = each[1], each[2], each[3]
  local chunk, at, count = run_of(member)
  local take = math.min(count, limit - #found)
  for place = at, at + take - 1 do found[#found + 1] = {pack('>I5B', chunk, place), kind} end
  finished[member] = false
  into(undone, kind, member)
  if take < count then into(done, kind, S(score), run_member(chunk, at + take, count - take)) end
end
local take = #found
if take == 0 then return {0, 0} end
for from = 1, take, 100 do
  local fields = {}
  for i = from, math.min(from + 99, take) do fields[#fields + 1] = found[i][1] end
  for i, h in ipairs(call('HMGET', JOB, unpack(fields))) do
    local seq6 = fields[i]
    -- Bytes that are no record still name their id where they were damaged behind it.
    local id = h and #h > 72 and id_of(h)
    if id and not sound(h) then
      local body = call('HGET', BODY, id)
      if not body or sub(body, 1, 6) ~= seq6 then id = nil end
    end
    local kind = found[from + i - 1][2]
    -- A damaged job may have been deleted and its place in the order not found.
    if h or marked_kind(seq6) == kind then
      if id then gone_ids[#gone_ids + 1] = id end
      gone[#gone + 1] = seq6
      mark(seq6, kind, nil)
    end
  end
end
check()
write()
return {take, take == limit and 1 or 0}
