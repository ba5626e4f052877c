-- Runs: sequences that follow each other in one chunk, as one member of a sorted set: six bytes of the first, and one that
-- counts the others. A sequence alone is its six bytes. A batch that goes through the store together costs the set one
-- member and not one a job.
--
-- In a script runs are a flat list: chunk, place of the first (from 0), how many.
local function onto(runs, chunk, at, apart)
  local n = #runs
  if not apart and n > 0 and runs[n - 2] == chunk and runs[n - 1] + runs[n] == at then
    runs[n] = runs[n] + 1
  else
    runs[n + 1], runs[n + 2], runs[n + 3] = chunk, at, 1
  end
end

-- The runs of so many sequences on end.
local function runs_from(number, count)
  local runs = {}
  while count > 0 do
    local at = number % 256
    local size = math.min(count, 256 - at)
    runs[#runs + 1], runs[#runs + 2], runs[#runs + 3] = (number - at) / 256, at, size
    number, count = number + size, count - size
  end
  return runs
end

local function run_member(chunk, at, count)
  if count == 1 then return pack('>I5B', chunk, at) end
  return pack('>I5BB', chunk, at, count - 1)
end

-- Chunk, place of the first, how many.
local function run_of(member)
  local chunk, at = unpackn('>I5B', member)
  return chunk, at, (byte(member, 7) or 0) + 1
end

-- As arguments of ZADD, under one score.
local function members_at(score, runs)
  local list = {}
  for i = 1, #runs, 3 do
    list[#list + 1] = score
    list[#list + 1] = run_member(runs[i], runs[i + 1], runs[i + 2])
  end
  return list
end

-- A timer that is a run speaks for those of its jobs that are claimed until its very time. It is taken out only with all its
-- jobs at once: what has left it one by one, or was renewed, it goes on naming until its time comes. The marks say which
-- of them are claimed, or claimed again.
local chunk_marks = {}
local function claimed_of(member)
  local chunk, at, count = run_of(member)
  local all = chunk_marks[chunk]
  if not all then
    all = call('GET', P .. 'k:' .. S(chunk)) or ''
    chunk_marks[chunk] = all
  end
  local found, upto = {}, at + count
  local place = string.find(all, '1', at + 1, true)
  while place and place <= upto do
    found[#found + 1] = pack('>I5B', chunk, place - 1)
    place = string.find(all, '1', place + 1, true)
  end
  return found
end

-- The jobs whose time has come, in order of the times, a hundred or so more than `budget` at most; which of them, by position,
-- a run named; the runs that are done with; and whether there may be more. Bounded: of what runs name it reads four thousand
-- records, and leaves the other runs for the next time; of eight thousand timers it looks no further.
local function due_timers(budget)
  local fields, from_run, done, left, more = {}, {}, {}, 4096, false
  for from = 0, 8000, budget do
    local timers = call('ZRANGE', TIMERS, '-inf', S(now), 'BYSCORE', 'LIMIT', from, budget, 'WITHSCORES')
    for i = 1, #timers, 2 do
      local member = timers[i]
      if #fields >= budget then break end
      if #member == 6 then
        fields[#fields + 1] = member
      else
        local names = claimed_of(member)
        if #names > left then
          more = true
        else
          left = left - #names
          done[#done + 1] = member
          for name = 1, #names, 100 do
            local heads = call('HMGET', JOB, unpack(names, name, math.min(name + 99, #names)))
            for k, h in ipairs(heads) do
              -- Bytes that are no record are for the caller to see.
              if not h or #h < 72 or byte(h, 2) ~= 1 or unpackn('>I8', h, 23) == tonumber(timers[i + 1]) then
                fields[#fields + 1] = names[name + k - 1]
                from_run[#fields] = true
              end
            end
          end
        end
      end
    end
    if #fields >= budget or #timers < 2 * budget then return fields, from_run, done, more end
  end
  return fields, from_run, done, true
end

-- Takes the timers of claims away. Says whether all of them were there: where one was not, its job may have been taken over
-- before the clock went back, and stand in a ready set. `seq6s` are the jobs, `runs` the same, those apart whose claims end
-- at different times, `ends` when. A run that stands at another time is an old one, and its jobs have timers of their own.
local function stop_timers(runs, ends, seq6s)
  local members, all = {}, true
  for i = 1, #runs, 3 do
    local member = run_member(runs[i], runs[i + 1], runs[i + 2])
    members[#members + 1] = member
    all = all and (#member == 6 or tonumber(call('ZSCORE', TIMERS, member) or 0) == ends[#members])
  end
  if call('ZREM', TIMERS, unpack(members)) == #members and all then return true end
  return #members < #seq6s and call('ZREM', TIMERS, unpack(seq6s)) == #seq6s
end

-- Whether a run that stands at that time names the job.
local function in_run(key, time, seq6)
  local number, score = unpackn('>I6', seq6), S(time)
  for _, member in ipairs(call('ZRANGE', key, score, score, 'BYSCORE')) do
    local chunk, at, count = run_of(member)
    local first = chunk * 256 + at
    if count > 1 and number >= first and number < first + count then return true end
  end
  return false
end

-- Where nothing is claimed and nothing waits for its time any more, old runs are all that can be left among the timers.
local function drop_timers(claimed)
  if claimed + (M[9] or 0) + (M[10] or 0) == 0 then call('DEL', TIMERS) end
end

-- Takes jobs that have their timers no more out of their ready sets, where they may be although their time has not come.
-- A key of another type holds none, and is no reason to stop half-way.
local function unready_all(heads, seq6s)
  local queues = {}
  for i = 1, #seq6s do
    local h = heads[i]
    local id, size = byte(h, 69, 70)
    local queue = sub(h, 71 + id, 70 + id + size)
    local list = queues[queue]
    if not list then list = {} queues[queue] = list end
    list[#list + 1] = sub(h, 46, 52) .. seq6s[i]
  end
  for queue, list in pairs(queues) do
    local key = P .. 'q:' .. queue
    local gone = redis.pcall('ZREM', key, unpack(list))
    if type(gone) == 'number' and gone > 0 and call('EXISTS', key) == 0 then redis.pcall('ZREM', QUEUES, queue) end
  end
end
