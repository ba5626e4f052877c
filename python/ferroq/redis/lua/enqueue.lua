#!lua
-- include: base quick_one quick_enqueue_one runs quick quick_enqueue tokens recall record commit locks
--
-- Stores new jobs, all or none [Q1, Q12].
--
-- ARGV 1 "skip" | "error"  2 length of a claim lock, µs
--      3 kinds that are not kept, as digits  4 a digit a job: its kind  5 the queue and 6 the score of all enqueued jobs, or
--      "" where they differ  7 slot, or "" when it is never sent again  8 request, 8 bytes  9 milliseconds to remember it
--      then two a job: its record, as a version 1 without lock, and its body; of an enqueued job, whose first 52 bytes are
--      the same for all, the record from 53 on
-- Returns {"exists", position..} or {"locked", position..} (nothing stored), or {"ok", first sequence, first token, expires,
-- a byte a job: "1" where it was stored}; sequences and tokens count up over the jobs that took one.
local mode, lock, kinds, slot, request = ARGV[1], tonumber(ARGV[2]), ARGV[4], ARGV[7], ARGV[8]
if slot ~= '' then
  local kept = recall(slot, request)
  if kept then return {'ok', S(unpackn('>I8', kept)), S(unpackn('>I8', kept, 9)), S(unpackn('>I8', kept, 17)), sub(kept, 25)} end
end
local unkept = {}
for i = 1, #ARGV[3] do unkept[byte(ARGV[3], i) - 48] = true end
local count = #kinds
local ids, exists, out = {}, {}, {}
for i = 1, count do
  local h = ARGV[8 + 2 * i]
  local at = byte(kinds, i) == 48 and 17 or 69
  ids[i] = sub(h, at + 2, at + 1 + byte(h, at))
end
-- HMGET is five times as fast as HEXISTS, but would copy the bodies of jobs that exist: a megabyte of them at most.
local big = tonumber(M[11] or 0)
local step = math.min(1000, math.floor(1048576 / (big + 1)))
if step < 8 then
  for i = 1, count do
    if call('HEXISTS', BODY, ids[i]) == 1 then
      exists[i] = true
      out[#out + 1] = i
    end
  end
else
  for from = 1, count, step do
    local there = call('HMGET', BODY, unpack(ids, from, math.min(from + step - 1, count)))
    for i = 1, #there do
      if there[i] then
        exists[from + i - 1] = true
        out[#out + 1] = from + i - 1
      end
    end
  end
end
if mode ~= 'skip' and #out > 0 then return {'exists', unpack(out)} end

local locks = locks_on(ids)
if locks then
  local locked = {}
  for i = 1, count do
    local held = locks[i]
    if held and not exists[i] and byte(kinds, i) == 49 and holder_of(held) ~= worker_of(ARGV[8 + 2 * i]) then
      locked[#locked + 1] = i
    end
  end
  if #locked > 0 then return {'locked', unpack(locked)} end
end

local first = (M[2] or 0) + 1
local seq = first - 1
local token
local due8, expires8 = pack('>I8', now), pack('>I8', now + lock)
local due7 = sub(due8, 2)
local fresh = '\1\0\0\0\0\1' .. string.rep('\0', 38) .. due8
local bound, largest, n, scores = {}, big, 0, {}
for i = 1, count do
  if not exists[i] then
    local h, body, kind = ARGV[8 + 2 * i], ARGV[9 + 2 * i], byte(kinds, i) - 48
    seq = seq + 1
    local seq6 = pack('>I6', seq)
    if kind == 0 then
      if not (locks and locks[i]) then
        local queue, score = ARGV[5], ARGV[6]
        if queue == '' then
          local priority, id, size = sub(h, 9, 12), byte(h, 17, 18)
          queue = sub(h, 19 + id, 18 + id + size)
          score = scores[priority]
          if not score then
            score = S(-unpackn('>i4', priority))
            scores[priority] = score
          end
        end
        local list = ready[queue]
        if not list then list = {} ready[queue] = list end
        local at = #list
        list[at + 1], list[at + 2] = score, due7 .. seq6
      end
      h = fresh .. h
    elseif kind == 1 then
      token = tokens(1)
      if out.token == nil then out.token = token end
      h = sub(h, 1, 14) .. pack('>I8', token) .. expires8 .. sub(h, 31, 44) .. due8 .. sub(h, 53)
      later(S(now + lock), seq6)
    elseif kind > 4 then
      local due = unpackn('>I8', h, 45)
      later(S(due), seq6)
      if due <= now then wakes[queue_of(h)] = (wakes[queue_of(h)] or 0) + 1 end
    end
    if not unkept[kind] then
      if kind > 1 and kind < 5 then
        h = sub(h, 1, 22) .. due8 .. sub(h, 31)
        into(done, kind, S(now), seq6)
      end
      jobs[n + 1], jobs[n + 2] = seq6, h
      bodies[n + 1], bodies[n + 2] = ids[i], seq6 .. body
      n = n + 2
      if #body + 6 > largest then largest = #body + 6 end
      mark(seq6, nil, kind)
      if any_lock then bound[#bound + 1] = {ids[i], seq6} end
    elseif any_lock then
      gone_ids[#gone_ids + 1] = ids[i] -- deleted in this very step, and the explicit lock with it
    end
  end
end
for queue, list in pairs(ready) do wakes[queue] = (wakes[queue] or 0) + #list / 2 end
M[2] = seq
if largest > big then M[11] = largest end
check()
if seq >= first then write() end
for _, pair in ipairs(bound) do
  -- The lock was there first: from now on it knows its job, so that its end finds it.
  local value = call('HGET', LOCKS, pair[1])
  if value then call('HSET', LOCKS, pair[1], sub(value, 1, 8) .. pair[2] .. sub(value, 15)) end
end
local flags = {}
for i = 1, count do flags[i] = exists[i] and '0' or '1' end
flags = table.concat(flags)
if slot ~= '' then
  call('SET', P .. 'r:' .. slot, request .. pack('>I8I8I8', first, out.token or 0, now + lock) .. flags, 'PX', ARGV[9])
end
return {'ok', S(first), S(out.token or 0), S(now + lock), flags}
