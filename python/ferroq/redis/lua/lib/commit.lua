-- Collects the changes of a script and writes them at its end: nothing is written before all has been read and checked.
local jobs, bodies, gone, gone_ids = {}, {}, {}, {}
local marks, delta = {}, {}
local ready, unready, wakes = {}, {}, {}
local soon, unsoon, unsoon_old = {}, {}, {}
local done, undone = {}, {}
local chunks, listed, unlisted = {}, {}, {}
local locks_go = false

-- Counts a job out of one kind and into another, and marks it so; nil is none.
local function mark(seq6, from, to)
  if from then delta[from] = (delta[from] or 0) - 1 end
  if to then delta[to] = (delta[to] or 0) + 1 end
  local chunk, at = unpackn('>I5B', seq6)
  local of = marks[chunk]
  if not of then of = {} marks[chunk] = of end
  of[at + 1] = to and 48 + to or 0
end

local function into(map, name, a, b)
  local list = map[name]
  if not list then list = {} map[name] = list end
  list[#list + 1] = a
  if b then list[#list + 1] = b end
end

local scores = {}

-- Enters a record into the ready set of its queue.
local function enter(h, seq6, wake)
  local queue, priority = queue_of(h), sub(h, 61, 64)
  local score = scores[priority]
  if not score then
    score = S(score_of(h))
    scores[priority] = score
  end
  into(ready, queue, score, member_of(h, seq6))
  if wake then wakes[queue] = (wakes[queue] or 0) + 1 end
end

-- Takes a record out of every set in which it waits, whichever that is.
local function leave(h, seq6)
  local kind = byte(h, 2)
  if kind > 1 and kind < 5 then return into(undone, kind, seq6) end
  if kind == 0 or unpackn('>I8', h, kind == 1 and 23 or 45) <= now then into(unready, queue_of(h), member_of(h, seq6)) end
  if kind > 0 then
    unsoon[#unsoon + 1] = seq6
    unsoon_old[#unsoon] = h
  end
end

local function later(instant, seq6)
  soon[#soon + 1] = instant
  soon[#soon + 1] = seq6
end

local function check_all(prefix, map)
  for name in pairs(map) do call('ZCARD', P .. prefix .. name) end
end

-- What becomes of one chunk of marks, and of the lists of chunks by kind.
local function check_chunk(chunk, of)
  local name = S(chunk)
  local key = P .. 'k:' .. name
  local old = call('GET', key) or ''
  local was, is, new = {}, {}, nil
  local at, code = next(of)
  if next(of, at) == nil then
    was[byte(old, at) or 0], is[code] = true, true
    new = sub(old, 1, at - 1) .. string.rep('\0', at - 1 - #old) .. char(code) .. sub(old, at + 1)
  else
    local bytes = {byte(old, 1, 256)}
    for i = #bytes + 1, 256 do bytes[i] = 0 end
    for place, to in pairs(of) do
      was[bytes[place]], is[to] = true, true
      bytes[place] = to
    end
    new = char(unpack(bytes))
  end
  for to in pairs(is) do
    if to > 0 and not string.find(old, char(to), 1, true) then into(listed, to - 48, name, name) end
  end
  for from in pairs(was) do
    if from > 0 and not string.find(new, char(from), 1, true) then into(unlisted, from - 48, name) end
  end
  chunks[key] = is[0] and not string.find(new, '[^%z]') and '' or new
end

-- Reads every key that will be written, so that one of a wrong type is found before the first write.
local function check()
  if #jobs > 0 or #gone > 0 then call('HLEN', JOB) end
  if #bodies > 0 or #gone_ids > 0 then call('HLEN', BODY) end
  -- With a job that goes its explicit lock does.
  locks_go = #gone_ids > 0 and call('HLEN', LOCKS) > 0
  if locks_go then call('ZCARD', ENDS) end
  if #soon > 0 or #unsoon > 0 then call('ZCARD', TIMERS) end
  if next(ready) or next(unready) then call('ZCARD', QUEUES) end
  check_all('q:', ready)
  check_all('q:', unready)
  check_all('f', done)
  check_all('f', undone)
  for chunk, of in pairs(marks) do check_chunk(chunk, of) end
  check_all('d', listed)
  check_all('d', unlisted)
end

local function unlist_queue(queue, key)
  if call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
end

-- Timers that were not there although their time has not come: the clock went back after they were taken over, and
-- they stand in a ready set. One of another type holds none, and is no reason to stop half-way.
local function unready_after_all()
  for i, h in pairs(unsoon_old) do
    local key = P .. 'q:' .. queue_of(h)
    if redis.pcall('ZREM', key, member_of(h, unsoon[i])) == 1 then unlist_queue(queue_of(h), key) end
  end
end

local function write()
  if #unsoon > 0 and call('ZREM', TIMERS, unpack(unsoon)) < #unsoon then unready_after_all() end
  if #jobs > 0 then call('HSET', JOB, unpack(jobs)) end
  if #bodies > 0 then call('HSET', BODY, unpack(bodies)) end
  if #gone > 0 then call('HDEL', JOB, unpack(gone)) end
  if #gone_ids > 0 then call('HDEL', BODY, unpack(gone_ids)) end
  if locks_go then
    call('HDEL', LOCKS, unpack(gone_ids))
    call('ZREM', ENDS, unpack(gone_ids))
  end
  for queue, list in pairs(unready) do
    local key = P .. 'q:' .. queue
    call('ZREM', key, unpack(list))
    if not ready[queue] then unlist_queue(queue, key) end
  end
  for queue, list in pairs(ready) do
    call('ZADD', P .. 'q:' .. queue, unpack(list))
    call('ZADD', QUEUES, 0, queue)
  end
  if #soon > 0 then call('ZADD', TIMERS, unpack(soon)) end
  for kind, list in pairs(undone) do call('ZREM', P .. 'f' .. kind, unpack(list)) end
  for kind, list in pairs(done) do call('ZADD', P .. 'f' .. kind, unpack(list)) end
  for key, value in pairs(chunks) do
    if value == '' then call('DEL', key) else call('SET', key, value) end
  end
  for kind, list in pairs(unlisted) do call('ZREM', P .. 'd' .. kind, unpack(list)) end
  for kind, list in pairs(listed) do call('ZADD', P .. 'd' .. kind, unpack(list)) end
  local fields = {'seq', M[2] or 0, 'token', M[3] or 0}
  if type(fields[2]) == 'number' then fields[2] = S(fields[2]) end
  if type(fields[4]) == 'number' then fields[4] = S(fields[4]) end
  if type(M[11]) == 'number' then
    fields[5], fields[6] = 'big', S(M[11])
  end
  for kind, by in pairs(delta) do
    if by ~= 0 then
      fields[#fields + 1] = 'c' .. kind
      M[4 + kind] = (M[4 + kind] or 0) + by
      fields[#fields + 1] = S(M[4 + kind])
    end
  end
  call('HSET', META, unpack(fields))
  -- What is written stays written where nobody may be told of it: waiters look for themselves, too.
  for queue, count in pairs(wakes) do redis.pcall('SPUBLISH', P .. 'wake', count .. ':' .. queue) end
end

-- Empties the collectors, for a script that writes in two steps, each complete in itself.
local function again()
  jobs, bodies, gone, gone_ids = {}, {}, {}, {}
  marks, delta = {}, {}
  ready, unready, wakes = {}, {}, {}
  soon, unsoon, unsoon_old = {}, {}, {}
  done, undone = {}, {}
  chunks, listed, unlisted = {}, {}, {}
end
