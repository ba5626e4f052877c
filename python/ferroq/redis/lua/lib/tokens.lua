-- [L2] Above every token given out before, and above the clock, so that a failover that forgets the counter does no harm.
local function tokens(count)
  local first = math.max((M[3] or 0) + 1, now)
  M[3] = first + count - 1
  return first
end
