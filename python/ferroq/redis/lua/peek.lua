#!lua flags=no-writes
-- include: base runs record locks
--
-- Whether claims may succeed now [Q16]. ARGV queues to look at.
-- Returns {1 if more came due than one claim takes over, microseconds until the next timer, 1 if some queue has jobs,
-- "1" or "0" a queue}; a queue has jobs also where a claim would first take them over.
local fields, _, _, more = due_timers(101)
local wave = more or #fields > 100
local after = call('ZRANGE', TIMERS, '(' .. S(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
if any_lock then
  local ended = call('ZRANGE', ENDS, '-inf', S(now), 'BYSCORE', 'LIMIT', 0, 1001)
  wave = wave or #ended > 1000
  local first = call('ZRANGE', ENDS, '(' .. S(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
  if first and (not after or tonumber(first) < tonumber(after)) then after = first end
  for i = 1, #ended do
    local seq6 = sub(call('HGET', LOCKS, ended[i]) or '', 9, 14)
    if seq6 ~= '\0\0\0\0\0\0' then fields[#fields + 1] = seq6 end
  end
end
local some = call('ZCARD', QUEUES) > 0
local fresh = {}
if not wave then
  for _, seq6 in ipairs(fields) do
    local h = call('HGET', JOB, seq6)
    local kind = sound(h) and byte(h, 2)
    local waits = kind and (kind == 0 or kind == 1 and unpackn('>I8', h, 23) <= now or kind > 4)
    if waits and not (any_lock and locks_on({id_of(h)})[1]) then
      fresh[queue_of(h)] = true
      some = true
    end
  end
end
local flags = {}
for i, queue in ipairs(ARGV) do
  flags[i] = (fresh[queue] or call('EXISTS', P .. 'q:' .. queue) == 1) and '1' or '0'
end
return {wave and 1 or 0, after and S(after - now) or '9000000000', some and 1 or 0, table.concat(flags)}
