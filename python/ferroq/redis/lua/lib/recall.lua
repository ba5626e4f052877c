-- The part of a request's answer that a re-send needs: kept under a key of the caller's own, which its next request
-- overwrites and time removes.
local function recall(slot, request)
  local kept = call('GET', P .. 'r:' .. slot)
  if kept and sub(kept, 1, #request) == request then return sub(kept, #request + 1) end
end
