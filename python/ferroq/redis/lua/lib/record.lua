-- The mutable half of a job, as kept in JOB under its sequence (six bytes, big-endian). Offsets, from 1:
--
--    1 B  format, 1        15 I8 token            40 I4 trace version     60 I4 bytes of the body
--    2 B  kind             23 I8 expires          44 I8 due               64 B  length of id
--    3 I4 version          31 I8 trace token      52 i4 priority          65 B  length of queue
--    7 I4 attempt          39 B  trace kind       56 I4 retry_count       66 B  length of worker
--   11 I4 crash_count                                                     67 I4 length of spec
--   71 id, queue, spec (opaque), worker, state (opaque)
--
-- Writers replace the bytes that change and copy the others: packing a number costs more than copying the record.
local FORMAT = '>BBI4I4I4I8I8I8BI4I8i4I4I4BBBI4'
local Z8, Z16 = string.rep('\0', 8), string.rep('\0', 16)

-- Whether the bytes can be trusted to be a record.
local function sound(h)
  if not h or #h < 72 or byte(h, 1) ~= 1 or byte(h, 2) > 6 then return false end
  return 70 + byte(h, 64) + byte(h, 65) + byte(h, 66) + unpackn('>I4', h, 67) <= #h
end

local function id_of(h)
  return sub(h, 71, 70 + byte(h, 64))
end

local function queue_of(h)
  local from = 71 + byte(h, 64)
  return sub(h, from, from + byte(h, 65) - 1)
end

local function worker_of(h)
  local from = 71 + byte(h, 64) + byte(h, 65) + unpackn('>I4', h, 67)
  return sub(h, from, from + byte(h, 66) - 1)
end

-- Everything up to the worker's name: what a change of state made here leaves as it is.
local function until_worker(h)
  return 70 + byte(h, 64) + byte(h, 65) + unpackn('>I4', h, 67)
end

local function number_of(seq6)
  return (unpackn('>I6', seq6))
end

-- The job's place in claim order: score -priority, member due and sequence. A double cannot hold all three.
local function member_of(h, seq6)
  return sub(h, 45, 51) .. seq6
end

local function score_of(h)
  return -unpackn('>i4', h, 52)
end
