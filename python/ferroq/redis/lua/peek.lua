#!lua flags=no-writes
-- include: base
--
-- Whether claims may succeed now [Q16]. ARGV queues to look at.
-- Returns {1 if something is due, microseconds until the next timer, 1 if some queue has jobs, "1" or "0" a queue}.
local first = call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')
local at = tonumber(first[2] or '9e15')
local flags = {}
for i, queue in ipairs(ARGV) do flags[i] = call('EXISTS', P .. 'q:' .. queue) end
return {at <= now and 1 or 0, S(math.max(at - now, 0)), call('ZCARD', QUEUES) > 0 and 1 or 0, table.concat(flags)}
