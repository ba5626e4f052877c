-- For the short ways: enqueues, claims and settlements of the plainest kind, by far the most, which leave the script before
-- it comes to the parts that everything else needs. Each looks whether it may, and else lets the script go on.
--
-- Changes the marks of jobs from one kind to another. `places`: number of the chunk -> places in it, from 1. Reads only;
-- what is to be written comes back as {key, value, ..}, names of chunks to list under `to`, and to take from `from`'s list.
local function remark(places, from, to)
  local values, listed, unlisted = {}, {}, {}
  local new_code, old_mark, new_mark = 48 + to, from and char(48 + from), char(48 + to)
  for chunk, list in pairs(places) do
    local name = S(chunk)
    local key = P .. 'k:' .. name
    local old = call('GET', key) or ''
    local new
    if #list == 1 then
      local at = list[1]
      new = sub(old, 1, at - 1) .. string.rep('\0', at - 1 - #old) .. new_mark .. sub(old, at + 1)
    else
      local bytes = {byte(old, 1, 256)}
      for i = #bytes + 1, 256 do bytes[i] = 0 end
      for i = 1, #list do bytes[list[i]] = new_code end
      new = char(unpack(bytes))
    end
    values[#values + 1] = key
    values[#values + 1] = new
    if not string.find(old, new_mark, 1, true) then
      listed[#listed + 1] = name
      listed[#listed + 1] = name
    end
    if from and not string.find(new, old_mark, 1, true) then unlisted[#unlisted + 1] = name end
  end
  if #listed > 0 then call('ZCARD', P .. 'd' .. to) end
  if #unlisted > 0 then call('ZCARD', P .. 'd' .. from) end
  return values, listed, unlisted
end
