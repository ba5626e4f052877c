-- Collects the changes of a script and writes them at its end: nothing is written before all has been read and checked.
local jobs, bodies, gone, gone_ids = {}, {}, {}, {}
local marks, delta = {}, {}
local ready, unready, wakes = {}, {}, {}
local soon, unsoon, unsoon_old = {}, {}, {}
local done, undone = {}, {}
local chunks = {}

-- Counts a job in (by 1) or out (by -1) of a kind, and marks it in the kind's bitmap.
local function mark(kind, seq6, by)
  delta[kind] = (delta[kind] or 0) + by
  local of = marks[kind]
  if not of then of = {} marks[kind] = of end
  local seq = unpackn('>I6', seq6)
  local bit = seq % 1024
  local chunk = (seq - bit) / 1024
  local list = of[chunk]
  if not list then list = {} of[chunk] = list end
  list[#list + 1] = by * (bit + 1)
end

local function into(map, name, a, b)
  local list = map[name]
  if not list then list = {} map[name] = list end
  list[#list + 1] = a
  if b then list[#list + 1] = b end
end

-- Enters a record into the ready set of its queue.
local function enter(h, seq6, wake)
  local queue = queue_of(h)
  into(ready, queue, S(score_of(h)), member_of(h, seq6))
  if wake then wakes[queue] = (wakes[queue] or 0) + 1 end
end

-- Takes a record out of every set in which it waits, whichever that is.
local function leave(h, seq6)
  local kind = byte(h, 2)
  if kind == 0 then
    into(unready, queue_of(h), member_of(h, seq6))
  elseif kind == 1 or kind > 4 then
    unsoon[#unsoon + 1] = 'j' .. seq6
    unsoon_old[#unsoon_old + 1] = h
  else
    into(undone, kind, seq6)
  end
end

local function later(instant, seq6)
  soon[#soon + 1] = instant
  soon[#soon + 1] = 'j' .. seq6
end

local function has(map)
  return next(map) ~= nil
end

-- Reads every key that will be written, so that one of a wrong type is found before the first write.
local function check()
  call('HLEN', JOB) call('HLEN', BODY) call('ZCARD', TIMERS) call('ZCARD', QUEUES)
  for queue in pairs(ready) do call('ZCARD', P .. 'q:' .. queue) end
  for queue in pairs(unready) do call('ZCARD', P .. 'q:' .. queue) end
  for _, h in ipairs(unsoon_old) do
    if #unsoon_old > 3 then break end
    call('ZCARD', P .. 'q:' .. queue_of(h))
  end
  for kind in pairs(done) do call('ZCARD', P .. 'f' .. kind) end
  for kind in pairs(undone) do call('ZCARD', P .. 'f' .. kind) end
  for kind, of in pairs(marks) do
    call('ZCARD', P .. 'd' .. kind)
    for chunk in pairs(of) do
      local key = P .. 'k' .. kind .. ':' .. S(chunk)
      chunks[key] = call('GET', key)
    end
  end
end

-- One chunk of 1,024 jobs is 128 bytes: rewriting it whole costs as much as setting a handful of bits one by one.
local function write_chunk(kind, chunk, list)
  local key = P .. 'k' .. kind .. ':' .. S(chunk)
  local old = chunks[key]
  if #list < 6 and old then
    local cleared = false
    for i = 1, #list do
      local bit = list[i]
      if bit > 0 then
        call('SETBIT', key, bit - 1, 1)
      else
        call('SETBIT', key, -bit - 1, 0)
        cleared = true
      end
    end
    if cleared and call('BITCOUNT', key) == 0 then
      call('DEL', key)
      call('ZREM', P .. 'd' .. kind, S(chunk))
    end
    return
  end
  local bytes = {byte(old or '', 1, 128)}
  for i = #bytes + 1, 128 do bytes[i] = 0 end
  for i = 1, #list do
    local bit = list[i]
    local on = bit > 0
    bit = (on and bit or -bit) - 1
    local at, mask = (bit - bit % 8) / 8 + 1, 2 ^ (7 - bit % 8)
    local is = bytes[at] % (2 * mask) >= mask
    if on ~= is then bytes[at] = bytes[at] + (on and mask or -mask) end
  end
  local new = char(unpack(bytes))
  if not string.find(new, '[^%z]') then
    call('DEL', key)
    call('ZREM', P .. 'd' .. kind, S(chunk))
  else
    call('SET', key, new)
    if not old then call('ZADD', P .. 'd' .. kind, S(chunk), S(chunk)) end
  end
end

local function write()
  if #unsoon > 0 and call('ZREM', TIMERS, unpack(unsoon)) < #unsoon then
    -- Those that were not among the timers had been taken over: they stand in a ready set.
    for i, h in ipairs(unsoon_old) do into(unready, queue_of(h), member_of(h, sub(unsoon[i], 2))) end
  end
  if #jobs > 0 then call('HSET', JOB, unpack(jobs)) end
  if #bodies > 0 then call('HSET', BODY, unpack(bodies)) end
  if #gone > 0 then call('HDEL', JOB, unpack(gone)) end
  if #gone_ids > 0 then call('HDEL', BODY, unpack(gone_ids)) end
  for queue, list in pairs(unready) do
    local key = P .. 'q:' .. queue
    call('ZREM', key, unpack(list))
    if call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
  end
  for queue, list in pairs(ready) do
    call('ZADD', P .. 'q:' .. queue, unpack(list))
    call('ZADD', QUEUES, 0, queue)
  end
  if #soon > 0 then call('ZADD', TIMERS, unpack(soon)) end
  for kind, list in pairs(undone) do call('ZREM', P .. 'f' .. kind, unpack(list)) end
  for kind, list in pairs(done) do call('ZADD', P .. 'f' .. kind, unpack(list)) end
  for kind, of in pairs(marks) do
    for chunk, list in pairs(of) do write_chunk(kind, chunk, list) end
  end
  local fields = {'seq', S(M[2] or 0), 'token', S(M[3] or 0)}
  for kind, by in pairs(delta) do
    if by ~= 0 then
      fields[#fields + 1] = 'c' .. kind
      M[4 + kind] = (M[4 + kind] or 0) + by
      fields[#fields + 1] = S(M[4 + kind])
    end
  end
  call('HSET', META, unpack(fields))
  for queue, count in pairs(wakes) do call('SPUBLISH', P .. 'wake', count .. ':' .. queue) end
end

-- Empties the collectors, for a script that writes in two steps, each complete in itself.
local function again()
  jobs, bodies, gone, gone_ids = {}, {}, {}, {}
  marks, delta = {}, {}
  ready, unready, wakes = {}, {}, {}
  soon, unsoon, unsoon_old = {}, {}, {}
  done, undone, chunks = {}, {}, {}
end
