#!lua flags=no-writes
-- include:
--
-- The commands of the other scripts that this user may not run on this store [E4]: found out before the first write, since
-- one that is refused in the midst of a script leaves behind what others before it wrote. ARGV 1 the channel.
local meta, rest = KEYS[1], string.sub(KEYS[1], 1, -5) .. 'x'
local missing = {}
local function may(name, ...)
  if not redis.acl_check_cmd(name, ...) then missing[#missing + 1] = name end
end
for _, name in ipairs({'HGET', 'HEXISTS', 'HDEL', 'HMGET'}) do may(name, meta, 'x') end
may('HSET', meta, 'x', 'x')
may('HLEN', meta)
for _, name in ipairs({'GET', 'DEL', 'EXISTS', 'ZCARD'}) do may(name, rest) end
may('SET', rest, 'x')
may('ZADD', rest, '0', 'x')
may('ZREM', rest, 'x')
may('ZSCORE', rest, 'x')
may('ZCOUNT', rest, '0', '1')
may('ZRANGE', rest, '0', '1')
may('ZREMRANGEBYRANK', rest, '0', '1')
may('SPUBLISH', ARGV[1], 'x')
may('TIME')
return missing
