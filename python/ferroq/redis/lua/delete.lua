#!lua flags=allow-oom
-- include: base record commit locks place fail
--
-- Removes a job with its locks and from every index [Q4]. ARGV 1 id. Returns 1, or 0 when there is none.
local id = ARGV[1]
local body = call('HGET', BODY, id)
if not body then return 0 end
local seq6 = sub(body, 1, 6)
local h = call('HGET', JOB, seq6)
gone[1], gone_ids[1] = seq6, id
if sound(h) then
  leave(h, seq6)
  mark(seq6, byte(h, 2), nil)
else
  -- Out of everything that goes by sequence, and of the ready set that its bytes name, if they do. Another ready set
  -- drops it when a claim meets it.
  local kind = marked_kind(seq6)
  if kind then mark(seq6, kind, nil) end
  if kind and kind > 1 and kind < 5 then into(undone, kind, seq6) end
  unsoon[1] = seq6
  if h and #h > 72 and id_of(h) == id then into(unready, queue_of(h), member_of(h, seq6)) end
end
local held = any_lock and call('HEXISTS', LOCKS, id) == 1
check()
if held then
  call('ZCARD', ENDS)
  call('HDEL', LOCKS, id)
  call('ZREM', ENDS, id)
end
write()
return 1
