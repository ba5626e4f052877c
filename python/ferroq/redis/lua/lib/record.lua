-- The mutable half of a job, as kept in JOB under its sequence (six bytes, big-endian). Offsets, from 1:
--
--    1 B  format, 1        15 I8 token            41 I4 trace version     61 i4 priority
--    2 B  kind             23 I8 expires          45 I8 due               65 I4 where the worker begins, less one
--    3 I4 version          31 B  length of worker 53 I4 retry_count       69 B  length of id
--    7 I4 attempt          32 I8 trace token      57 I4 bytes of the body 70 B  length of queue
--   11 I4 crash_count      40 B  trace kind                               71 id, queue, spec (opaque), worker, state (opaque)
--
-- At 23 a finished job has when it finished.
--
-- The order is that of who writes: 1 to 31 with every change, 32 to 44 by a settlement, 45 to 60 by few, the rest by
-- `update`. Writers replace what changes and copy the others in one piece: making a string is what costs.
local Z8, Z17 = string.rep('\0', 8), string.rep('\0', 17)

-- Whether the bytes can be trusted to be a record.
local function sound(h)
  if not h or #h < 72 then return false end
  local format, kind = byte(h, 1, 2)
  if format ~= 1 or kind > 6 then return false end
  local head, id, queue = unpackn('>I4BB', h, 65)
  return 70 + id + queue <= head and head + byte(h, 31) <= #h
end

local function id_of(h)
  return sub(h, 71, 70 + byte(h, 69))
end

local function queue_of(h)
  local id, queue = byte(h, 69, 70)
  return sub(h, 71 + id, 70 + id + queue)
end

-- Everything up to the worker's name ends here: what a change of state made here leaves as it is.
local function until_worker(h)
  return (unpackn('>I4', h, 65))
end

local function worker_of(h)
  local from = until_worker(h)
  return sub(h, from + 1, from + byte(h, 31))
end

-- The sequence that a body begins with; that of no job where it is too short.
local function seq_of(body)
  return #body > 5 and sub(body, 1, 6) or '\0\0\0\0\0\0'
end

local function number_of(seq6)
  return (unpackn('>I6', seq6))
end

-- The job's place in claim order: score -priority, member due and sequence. A double cannot hold all three.
local function member_of(h, seq6)
  return sub(h, 46, 52) .. seq6
end

local function score_of(h)
  return -unpackn('>i4', h, 61)
end
