-- A job whose locks lapsed too often [L4]: failed, under no token, its trace as it was.
local function crash_fail(h, seq6)
  local crashes = unpackn('>I4', h, 11) + 1
  local state = '{"failed_at":' .. S(now) .. ',"exception":"lock lapsed ' .. S(crashes)
    .. ' times","stack_trace":null,"retry_count":' .. S(unpackn('>I4', h, 53)) .. '}'
  jobs[#jobs + 1] = seq6
  jobs[#jobs + 1] = '\1\3' .. pack('>I4', unpackn('>I4', h, 3) + 1) .. sub(h, 7, 10) .. pack('>I4', crashes) .. Z8 .. pack('>I8', now)
    .. '\0' .. sub(h, 32, until_worker(h)) .. state
  mark(seq6, 1, 3)
  into(done, 3, S(now), seq6)
end

-- The kind as which a job is marked, or nil: for bytes that do not say it themselves.
local function marked_kind(seq6)
  local value = call('GET', P .. 'k:' .. S(unpackn('>I5', seq6)))
  local code = value and byte(value, byte(seq6, 6) + 1) or 0
  return code > 0 and code - 48 or nil
end

-- Bytes that are no record, or none at all [E3]: counted and listed as failed from now on, and kept as they are.
local function spoil(seq6)
  local kind = marked_kind(seq6)
  if not kind or kind == 3 then return end
  mark(seq6, kind, 3)
  into(done, 3, S(now), seq6)
end
