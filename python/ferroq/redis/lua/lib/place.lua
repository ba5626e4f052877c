-- Puts a job that nothing holds any more where its record says that it belongs. What is due or lapsed goes among the timers
-- too: the next claim takes it over, or fails it, in its order.
local function place(h, seq6, wake)
  local kind = byte(h, 2)
  if kind == 0 then return enter(h, seq6, wake) end
  if kind ~= 1 and kind < 5 then return end
  local instant = unpackn('>I8', h, kind == 1 and 23 or 45)
  if kind ~= 1 or not in_run(TIMERS, instant, seq6) then later(S(instant), seq6) end
  if wake and instant <= now then
    local queue = queue_of(h)
    wakes[queue] = (wakes[queue] or 0) + 1
  end
end
