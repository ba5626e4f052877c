-- The store's clock, counters and names. First of the parts: every other one may use what is declared here.
--
-- KEYS 1 meta  2 job  3 body  4 timers  5 locks  6 queues  7 ends; every other key is made from their common prefix,
-- which holds the hash tag, so that it lies in the same slot.
local call, pack, unpackn, sub, byte, char = redis.call, struct.pack, struct.unpack, string.sub, string.byte, string.char
local META, JOB, BODY, TIMERS, LOCKS, QUEUES, ENDS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local P = sub(META, 1, -5)

-- tostring() keeps 14 digits only: too few for an instant in microseconds. It is slow: not once a job where once will do.
local function S(number)
  return string.format('%.0f', number)
end

local M = call('HMGET', META, 'clock', 'seq', 'token', 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'big')
-- The one place that reads the time, once a script: it moves inside a script on Redis 7.0. The field `clock` is an offset
-- in microseconds that only tests ever set.
local now = call('TIME')
now = now[1] * 1000000 + now[2] + (M[1] or 0)
