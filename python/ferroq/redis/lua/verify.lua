#!lua flags=no-writes
-- include: base runs record locks
--
-- One step of the self-audit [Q18]. ARGV 1 what  2 which  3 position
--   "totals"            -> {jobs, bodies, locks, then the counts by kind}
--   "chunk"    kind  n  -> the n-th chunk of a kind: {"1" while there is one, jobs, findings..}
--   "queue"    name  n  -> a thousand ready jobs from rank n: {"1" while there are, jobs, findings..}
--   "timers"   ""    n  -> likewise {.., 0, findings..}
--   "ends"     ""    n  -> likewise {.., explicit locks seen, findings..}
--   "finished" kind  n  -> a hundred members from rank n, likewise
--   "queues"   ""    n  -> a thousand names of queues
local what, which, from = ARGV[1], ARGV[2], tonumber(ARGV[3])
local out = {'0', 0}

local function say(...)
  out[#out + 1] = table.concat({...})
end

local function name_of(seq6, h)
  local id = h and #h > 72 and id_of(h)
  local body = id and (sound(h) or call('HGET', BODY, id))
  return body and (body == true or sub(body, 1, 6) == seq6) and 'job ' .. id or 'sequence ' .. S(number_of(seq6))
end

-- Whether a job is in a sorted set, alone or in a run of the time.
local function stands(key, seq6, time)
  return call('ZSCORE', key, seq6) or time and in_run(key, time, seq6)
end

local function waits(h, seq6)
  if call('ZSCORE', P .. 'q:' .. queue_of(h), member_of(h, seq6)) then return true end
  local kind = byte(h, 2)
  if kind ~= 0 and stands(TIMERS, seq6, kind == 1 and unpackn('>I8', h, 23)) then return true end
  return call('HEXISTS', LOCKS, id_of(h)) == 1
end

local function look(kind, seq6)
  local h = call('HGET', JOB, seq6)
  if not h then return say(name_of(seq6, h), ' is marked as of kind ', kind, ' and has no record') end
  local final = kind > 1 and kind < 5
  -- Bytes that are no record do not say where in the order it stands: there the total must do.
  if final and sound(h) and not stands(P .. 'f' .. kind, seq6, unpackn('>I8', h, 23)) then
    say(name_of(seq6, h), ' is finished and stands in no order of finish')
  end
  if not sound(h) then return say(name_of(seq6, h), ' has bytes that are no record') end
  if byte(h, 2) ~= kind then return say(name_of(seq6, h), ' is marked as of kind ', kind, ' and is of another') end
  local body = call('HGET', BODY, id_of(h))
  if not body or sub(body, 1, 6) ~= seq6 then say(name_of(seq6, h), ' has no body, or another job\'s') end
  if not final and not waits(h, seq6) then say(name_of(seq6, h), ' waits nowhere: no claim will find it') end
end

if what == 'totals' then
  out = {call('HLEN', JOB), call('HLEN', BODY), call('HLEN', LOCKS)}
  for kind = 0, 6 do out[#out + 1] = tonumber(M[4 + kind] or '0') end
elseif what == 'queues' then
  return call('ZRANGE', QUEUES, from, from + 999)
elseif what == 'chunk' then
  local chunk = call('ZRANGE', P .. 'd' .. which, from, from)[1]
  if chunk then
    out[1] = '1'
    local value = call('GET', P .. 'k:' .. chunk) or ''
    for at = 1, #value do
      if byte(value, at) == 48 + which then
        out[2] = out[2] + 1
        look(tonumber(which), pack('>I6', chunk * 256 + at - 1))
      end
    end
    if out[2] == 0 then say('chunk ', chunk, ' has no job of kind ', which) end
  end
elseif what == 'queue' then
  local list = call('ZRANGE', P .. 'q:' .. which, from, from + 999, 'WITHSCORES')
  if #list > 0 then out[1] = '1' end
  out[2] = #list / 2
  if from == 0 and #list == 0 then say('queue ', which, ' is listed and has no job') end
  for i = 1, #list, 2 do
    local seq6 = sub(list[i], 8)
    local h = call('HGET', JOB, seq6)
    local kind = sound(h) and byte(h, 2)
    if not h then
      say(name_of(seq6, h), ' is ready in queue ', which, ' and has no record')
    elseif kind and kind > 1 and kind < 5 then
      say(name_of(seq6, h), ' is ready in queue ', which, ' and finished')
    elseif kind and (queue_of(h) ~= which or member_of(h, seq6) ~= list[i] or score_of(h) ~= tonumber(list[i + 1])) then
      say(name_of(seq6, h), ' is ready at another place than its record says')
    end
  end
elseif what == 'timers' then
  local list = call('ZRANGE', TIMERS, from, from + 999, 'WITHSCORES')
  if #list > 0 then out[1] = '1' end
  for i = 1, #list, 2 do
    local seq6, score = list[i], tonumber(list[i + 1])
    local h = call('HGET', JOB, seq6)
    local kind = sound(h) and byte(h, 2)
    if #seq6 == 7 then
      -- A run goes on naming what has left it; whether a claim has a timer the jobs themselves are asked.
    elseif not h then
      say(name_of(seq6, h), ' has a timer and no record')
    elseif kind and kind ~= 1 and kind < 5 then
      say(name_of(seq6, h), ' has a timer and waits for nothing')
    elseif kind and unpackn('>I8', h, kind == 1 and 23 or 45) ~= score then
      say(name_of(seq6, h), ' has a timer at another time than its record says')
    end
  end
elseif what == 'ends' then
  local list = call('ZRANGE', ENDS, from, from + 999, 'WITHSCORES')
  if #list > 0 then out[1] = '1' end
  out[2] = #list / 2
  for i = 1, #list, 2 do
    local lock = call('HGET', LOCKS, list[i])
    if not lock or unpackn('>I8', lock) ~= tonumber(list[i + 1]) then
      say('the end of the explicit lock on ', list[i], ' is wrong')
    end
  end
else
  local list = call('ZRANGE', P .. 'f' .. which, from, from + 99, 'WITHSCORES')
  if #list > 0 then out[1] = '1' end
  for i = 1, #list, 2 do
    local chunk, at, count = run_of(list[i])
    out[2] = out[2] + count
    for place = at, at + count - 1 do
      local seq6 = pack('>I5B', chunk, place)
      local h = call('HGET', JOB, seq6)
      if not h or (sound(h) and byte(h, 2) ~= tonumber(which)) then
        say(name_of(seq6, h), ' is in the order of finish of kind ', which, ' and is not of it')
      elseif count > 1 and sound(h) and unpackn('>I8', h, 23) ~= tonumber(list[i + 1]) then
        say(name_of(seq6, h), ' is in the order of finish at another time than its record says')
      end
    end
  end
end
return out
