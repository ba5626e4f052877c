-- A job whose locks lapsed too often [L4]: failed, under no token, its trace as it was.
local function crash_fail(h, seq6)
  local crashes = unpackn('>I4', h, 11) + 1
  local state = '{"failed_at":' .. S(now) .. ',"exception":"lock lapsed ' .. S(crashes)
    .. ' times","stack_trace":null,"retry_count":' .. S(unpackn('>I4', h, 56)) .. '}'
  jobs[#jobs + 1] = seq6
  jobs[#jobs + 1] = char(1, 3) .. pack('>I4', unpackn('>I4', h, 3) + 1) .. sub(h, 7, 10) .. pack('>I4', crashes) .. Z16
    .. sub(h, 31, 65) .. '\0' .. sub(h, 67, until_worker(h)) .. state
  mark(1, seq6, -1)
  mark(3, seq6, 1)
  into(done, 3, S(now), seq6)
end

-- The kind that the bitmaps say a job is of, or nil: for bytes that do not say it themselves.
local function marked_kind(seq6)
  local seq = number_of(seq6)
  local bit = seq % 1024
  for kind = 0, 6 do
    if call('GETBIT', P .. 'k' .. kind .. ':' .. S((seq - bit) / 1024), bit) == 1 then return kind end
  end
end

-- Bytes that are no record [E3]: counted and listed as failed from now on, and kept as they are.
local function spoil(seq6)
  local kind = marked_kind(seq6)
  if not kind or kind == 3 then return end
  mark(kind, seq6, -1)
  mark(3, seq6, 1)
  into(done, 3, S(now), seq6)
end
