#!lua flags=no-writes
-- include: base record locks
--
-- Whether claims may succeed now [Q16]. ARGV queues to look at.
-- Returns {1 if more came due than one claim takes over, microseconds until the next timer, 1 if some queue has jobs,
-- "1" or "0" a queue}; a queue has jobs also where a claim would first take them over.
local wave = call('ZRANGE', TIMERS, '-inf', S(now), 'BYSCORE', 'LIMIT', 0, 101)
local after = call('ZRANGE', TIMERS, '(' .. S(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
local some = call('ZCARD', QUEUES) > 0
local fresh = {}
if #wave <= 100 then
  for _, member in ipairs(wave) do
    local seq6 = member
    if byte(member) == 120 then seq6 = sub(call('HGET', LOCKS, sub(member, 2)) or '', 9, 14) end
    local h = call('HGET', JOB, seq6)
    if sound(h) and (byte(h, 2) < 2 or byte(h, 2) > 4) and not (any_lock and locks_on({id_of(h)})[1]) then
      fresh[queue_of(h)] = true
      some = true
    end
  end
end
local flags = {}
for i, queue in ipairs(ARGV) do
  flags[i] = (fresh[queue] or call('EXISTS', P .. 'q:' .. queue) == 1) and '1' or '0'
end
return {#wave > 100 and 1 or 0, after and S(after - now) or '9000000000', some and 1 or 0, table.concat(flags)}
