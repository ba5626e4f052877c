#!lua flags=allow-oom
-- include: base runs record commit fail
--
-- Removes a job with its locks and from every index [Q4]. ARGV 1 id. Returns 1, or 0 when there is none.
local id = ARGV[1]
local body = call('HGET', BODY, id)
if not body then return 0 end
local seq6 = seq_of(body)
local h = call('HGET', JOB, seq6)
gone_ids[1] = id
if h and #h > 72 and id_of(h) ~= id then
  -- The body names the sequence of another job, which is not to suffer. What is left of this one its queue finds out.
elseif sound(h) then
  gone[1] = seq6
  leave(h, seq6)
  mark(seq6, byte(h, 2), nil)
else
  -- Out of everything that goes by sequence, and of the ready set that its bytes name, if they do. Another ready set
  -- drops it when a claim meets it.
  gone[1] = seq6
  local kind = marked_kind(seq6)
  if kind then mark(seq6, kind, nil) end
  if kind and kind > 1 and kind < 5 then into(undone, kind, seq6) end
  unsoon[1] = seq6
  if h and #h > 72 then into(unready, queue_of(h), member_of(h, seq6)) end
end
check()
write()
return 1
