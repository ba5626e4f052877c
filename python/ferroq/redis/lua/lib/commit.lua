-- Collects the changes of a script and writes them at its end: nothing is written before all has been read and checked.
local jobs, bodies, gone, gone_ids = {}, {}, {}, {}
local marks, delta = {}, {}
local ready, unready, wakes = {}, {}, {}
local soon, unsoon, unsoon_old = {}, {}, {}
local done, undone, finished = {}, {}, {}
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
  if kind > 1 and kind < 5 then
    finished[seq6] = unpackn('>I8', h, 23)
    return into(undone, kind, seq6)
  end
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

-- Takes jobs out of a run in the order of finish: the rest of it goes back as smaller ones. Those that were found are out of
-- `out`.
local function cut(kind, score, member, out)
  local rest = {}
  local chunk, at, count = run_of(member)
  for place = at, at + count - 1 do
    local seq6 = pack('>I5B', chunk, place)
    if out[seq6] then out[seq6] = nil else onto(rest, chunk, place) end
  end
  if #rest == 3 and rest[3] == count then return end
  into(undone, kind, member)
  for i = 1, #rest, 3 do into(done, kind, score, run_member(rest[i], rest[i + 1], rest[i + 2])) end
end

-- Finds the runs in which finished jobs stand that are to leave their order, by when they finished; `finished` is false of what
-- is no job but a run itself. One whose bytes do not say it is looked for in the first twenty thousand members; `purge`
-- drops what is left.
local function check_undone(kind, list)
  local key, times, unknown = P .. 'f' .. kind, {}, {}
  for _, seq6 in ipairs(list) do
    local time = finished[seq6]
    if time then
      if not times[time] then times[time] = {} end
      times[time][seq6] = true
    elseif time == nil then
      unknown[seq6] = true
    end
  end
  for time, out in pairs(times) do
    local score = S(time)
    for _, member in ipairs(call('ZRANGE', key, score, score, 'BYSCORE')) do
      if #member == 7 then cut(kind, score, member, out) else out[member] = nil end
    end
    for seq6 in pairs(out) do unknown[seq6] = true end
  end
  for seq6 in pairs(unknown) do
    if call('ZSCORE', key, seq6) then unknown[seq6] = nil end
  end
  if next(unknown) then
    for from = 0, 19000, 1000 do
      local page = call('ZRANGE', key, from, from + 999, 'WITHSCORES')
      for i = 1, #page, 2 do
        if #page[i] == 7 then cut(kind, page[i + 1], page[i], unknown) end
      end
      if #page == 0 or not next(unknown) then return end
    end
  end
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
  for kind, list in pairs(undone) do check_undone(kind, list) end
  for chunk, of in pairs(marks) do check_chunk(chunk, of) end
  check_all('d', listed)
  check_all('d', unlisted)
end

local function unlist_queue(queue, key)
  if call('EXISTS', key) == 0 then call('ZREM', QUEUES, queue) end
end

-- Takes timers away, of claims and of those who wait.
local function unset_timers()
  local runs, ends, heads, seq6s, last = {}, {}, {}, {}, nil
  for i, seq6 in ipairs(unsoon) do
    local h = unsoon_old[i]
    local chunk, at = unpackn('>I5B', seq6)
    local instant = h and unpackn('>I8', h, byte(h, 2) == 1 and 23 or 45)
    onto(runs, chunk, at, instant ~= last)
    last = instant
    ends[#runs / 3] = instant
    if h then heads[#heads + 1], seq6s[#seq6s + 1] = h, seq6 end
  end
  if not stop_timers(runs, ends, unsoon) then unready_all(heads, seq6s) end
  -- A change of a claim that had lapsed may have left a job a timer beside its run's.
  if #runs < 3 * #unsoon then call('ZREM', TIMERS, unpack(unsoon)) end
end

local function write()
  if #unsoon > 0 then unset_timers() end
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
  if #unsoon > 0 then drop_timers(M[5] or 0) end
  -- What is written stays written where nobody may be told of it: waiters look for themselves, too.
  for queue, count in pairs(wakes) do redis.pcall('SPUBLISH', P .. 'wake', count .. ':' .. queue) end
end

-- Empties the collectors, for a script that writes in two steps, each complete in itself.
local function again()
  jobs, bodies, gone, gone_ids = {}, {}, {}, {}
  marks, delta = {}, {}
  ready, unready, wakes = {}, {}, {}
  soon, unsoon, unsoon_old = {}, {}, {}
  done, undone, finished = {}, {}, {}
  chunks, listed, unlisted = {}, {}, {}
end
