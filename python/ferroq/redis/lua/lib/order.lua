-- Walks the ready sets of some queues in claim order. A call of step() gives queue, member and score of the next job, or
-- nil; reading is by rank, in growing blocks, so that a claim of one job over many queues reads one member of each.
-- Members are compared as numbers: Lua compares strings by the server's locale.
local function walk(names, want, from)
  local heads = {}

  local function less(a, b)
    if a.score ~= b.score then return a.score < b.score end
    if a.due ~= b.due then return a.due < b.due end
    return a.number < b.number
  end

  local function fill(head)
    local count = head.block
    head.block = math.min(head.block * 4, 100)
    local key = P .. 'q:' .. head.queue
    head.buffer = call('ZRANGE', key, head.rank, head.rank + count - 1, 'WITHSCORES')
    head.rank = head.rank + count
    head.at = 1
  end

  local function take(head)
    if head.at > #head.buffer then
      fill(head)
      if #head.buffer == 0 then return false end
    end
    head.member, head.score = head.buffer[head.at], tonumber(head.buffer[head.at + 1])
    if #names > 1 then head.due, head.number = unpackn('>I7I6', head.member) end
    head.at = head.at + 2
    return true
  end

  local function sift(i)
    local size, moving = #heads, heads[i]
    while 2 * i <= size do
      local child = 2 * i
      if child < size and less(heads[child + 1], heads[child]) then child = child + 1 end
      if not less(heads[child], moving) then break end
      heads[i] = heads[child]
      i = child
    end
    heads[i] = moving
  end

  for _, queue in ipairs(names) do
    local head = {queue = queue, rank = from and from(queue) or 0, block = #names == 1 and math.min(want, 100) or 1}
    head.buffer, head.at = {}, 1
    if take(head) then heads[#heads + 1] = head end
  end
  for i = math.floor(#heads / 2), 1, -1 do sift(i) end

  return function()
    local head = heads[1]
    if not head then return nil end
    local queue, member, score = head.queue, head.member, head.score
    if not take(head) then
      heads[1] = heads[#heads]
      heads[#heads] = nil
    end
    if #heads > 1 then sift(1) end
    return queue, member, score
  end
end

-- The queues that a call is about: those named, or every one that is not empty.
local function queues_of(first)
  if #ARGV >= first then return {unpack(ARGV, first)} end
  return call('ZRANGE', QUEUES, 0, -1)
end
