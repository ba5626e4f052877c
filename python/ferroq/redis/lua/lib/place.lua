-- Puts a job that nothing holds any more where its record says that it belongs.
local function place(h, seq6, wake)
  local kind = byte(h, 2)
  if kind == 0 then return enter(h, seq6, wake) end
  if kind ~= 1 and kind < 5 then return end
  local instant = unpackn('>I8', h, kind == 1 and 23 or 45)
  if instant <= now then
    unsoon[#unsoon + 1] = seq6
    enter(h, seq6, wake)
  else
    later(S(instant), seq6)
  end
end
