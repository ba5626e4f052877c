-- For the short ways: enqueues, claims and settlements of the plainest kind, by far the most, which leave the script before
-- it comes to the parts that everything else needs. Each looks whether it may, and else lets the script go on.
--
-- Changes the marks of runs of jobs from one kind to another. Reads only; what is to be written comes back as
-- {key, value, ..}, names of chunks to list under `to`, and to take from `from`'s list.
local function remark(runs, from, to)
  local values, listed, unlisted = {}, {}, {}
  local rep, find, new_code = string.rep, string.find, 48 + to
  local old_mark, new_mark = from and char(48 + from), char(new_code)
  local chunks = {}
  for i = 1, #runs, 3 do
    local list = chunks[runs[i]]
    if not list then list = {} chunks[runs[i]] = list end
    list[#list + 1] = runs[i + 1]
    list[#list + 1] = runs[i + 2]
  end
  for chunk, list in pairs(chunks) do
    local name = S(chunk)
    local key = P .. 'k:' .. name
    local old = call('GET', key) or ''
    local new = old
    if #list < 16 then
      for i = 1, #list, 2 do
        local at, count = list[i], list[i + 1]
        new = sub(new, 1, at) .. rep('\0', at - #new) .. rep(new_mark, count) .. sub(new, at + count + 1)
      end
    else
      -- Many: place by place.
      local bytes = {byte(old, 1, 256)}
      for i = #bytes + 1, 256 do bytes[i] = 0 end
      for i = 1, #list, 2 do
        for place = list[i] + 1, list[i] + list[i + 1] do bytes[place] = new_code end
      end
      new = char(unpack(bytes))
    end
    values[#values + 1] = key
    values[#values + 1] = new
    if not find(old, new_mark, 1, true) then
      listed[#listed + 1] = name
      listed[#listed + 1] = name
    end
    if from and not find(new, old_mark, 1, true) then unlisted[#unlisted + 1] = name end
  end
  if #listed > 0 then call('ZCARD', P .. 'd' .. to) end
  if #unlisted > 0 then call('ZCARD', P .. 'd' .. from) end
  return values, listed, unlisted
end
