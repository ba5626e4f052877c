-- Explicit locks, in LOCKS by id: I8 expires, six bytes of the job's sequence (zeros if it is not stored), the worker.
-- A job under one is in no ready set: what keeps it out is looked up where it would enter.
local any_lock = call('HLEN', LOCKS) > 0

-- The values of live locks, by position of the ids; nil when there is no lock at all.
local function locks_on(ids)
  if not any_lock or #ids == 0 then return nil end
  local found = call('HMGET', LOCKS, unpack(ids))
  for i, value in ipairs(found) do
    if value and unpackn('>I8', value) <= now then found[i] = false end
  end
  return found
end

local function holder_of(lock)
  return sub(lock, 15)
end
