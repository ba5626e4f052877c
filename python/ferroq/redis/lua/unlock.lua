#!lua flags=allow-oom
-- include: base runs record commit locks place
--
-- Frees a worker's live explicit lock, or else gives back its live claim [Q10, L6]. ARGV 1 id  2 worker. Returns 1 or 0.
local id, worker = ARGV[1], ARGV[2]
local lock = any_lock and call('HGET', LOCKS, id)
local live = lock and unpackn('>I8', lock) > now
if live and holder_of(lock) == worker then
  local seq6 = sub(lock, 9, 14)
  local h = call('HGET', JOB, seq6)
  if sound(h) and id_of(h) == id then place(h, seq6, true) end
  check()
  call('ZCARD', ENDS)
  call('HDEL', LOCKS, id)
  call('ZREM', ENDS, id)
  write()
  return 1
end
local body = call('HGET', BODY, id)
if not body then return 0 end
local seq6 = seq_of(body)
local h = call('HGET', JOB, seq6)
if not sound(h) or id_of(h) ~= id or byte(h, 2) ~= 1 or unpackn('>I8', h, 23) <= now or worker_of(h) ~= worker then return 0 end
local new = '\1\0' .. pack('>I4', unpackn('>I4', h, 3) + 1) .. sub(h, 7, 14) .. Z17
  .. sub(h, 32, until_worker(h)) .. '{"enqueued_at":' .. S(now) .. '}'
leave(h, seq6)
mark(seq6, 1, 0)
jobs[1], jobs[2] = seq6, new
if not live then enter(new, seq6, true) end
check()
write()
return 1
