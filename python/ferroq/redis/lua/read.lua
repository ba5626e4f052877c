#!lua flags=no-writes
-- include: base record
--
-- A page of the walk by sequence, descending [Q5].
--
-- ARGV 1 kinds, as digits  2 go on below this sequence (0: from the top)  3 how many to skip  4 how many to return
--      5 queue, or ""  6 most jobs to look at (1..1000)  7 most bytes
-- Returns {sequence to go on below, or 0 at the end, still to skip, six bytes of sequence, record, body, ..}. A record
-- that is none comes with the body of the id that its bytes name, if that body agrees.
local kinds, skip, limit, queue = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local budget, cap = tonumber(ARGV[6]), tonumber(ARGV[7])
local below = tonumber(ARGV[2])
local plain = queue == ''

-- The chunk with the highest number at or under `chunk`, with a job of any of the kinds.
local function chunk_under(chunk)
  local best
  for i = 1, #kinds do
    local found = call('ZRANGE', P .. 'd' .. sub(kinds, i, i), chunk, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
    if found and (not best or tonumber(found) > best) then best = tonumber(found) end
  end
  return best
end

local wanted = '[' .. kinds .. ']'
local is_wanted = {}
for i = 1, #kinds do is_wanted[byte(kinds, i)] = true end

local found, looked = {}, 0
local chunk = chunk_under(below > 0 and S(math.floor((below - 1) / 256)) or '+inf')
local over = false
while chunk and not over do
  local marks = call('GET', P .. 'k:' .. S(chunk)) or ''
  local base = chunk * 256
  local whole = below == 0 or below > base + 255
  local count = plain and skip > 0 and whole and select(2, string.gsub(marks, wanted, ''))
  if count and skip >= count then
    skip = skip - count
    looked = looked + 8
    below = base
    if looked >= budget then break end
  else
    for at = whole and #marks or math.min(#marks, below - base), 1, -1 do
      if is_wanted[byte(marks, at)] then
        if looked >= budget or (plain and #found >= limit) then
          over = true
          break
        end
        looked = looked + 1
        below = base + at - 1
        if plain and skip > 0 then skip = skip - 1 else found[#found + 1] = pack('>I6', below) end
      end
    end
    if not over then below = base end
  end
  if not over then
    if below == 0 then chunk = nil else chunk = chunk_under(S(chunk - 1)) end
  end
end
local on = (chunk and below > 0) and below or 0

local out = {0, 0}
local bytes, returned, last = 0, 0, nil
for from = 1, #found, 100 do
  local part = {unpack(found, from, math.min(from + 99, #found))}
  local heads = call('HMGET', JOB, unpack(part))
  for i, h in ipairs(heads) do
    local seq6 = part[i]
    local fine = sound(h)
    if h and (plain or not fine or queue_of(h) == queue) then
      if skip > 0 then
        skip = skip - 1
      else
        local size = fine and #h + unpackn('>I4', h, 57) or #h
        if returned >= limit or (returned > 0 and bytes + size > cap) then
          on = number_of(last)
          last = false
          break
        end
        bytes = bytes + size
        returned = returned + 1
        local body = #h > 72 and call('HGET', BODY, id_of(h)) or ''
        if not fine and sub(body, 1, 6) ~= seq6 then body = '' end
        out[#out + 1] = seq6
        out[#out + 1] = h
        out[#out + 1] = body
      end
    end
    last = seq6
  end
  if last == false then break end
end
out[1], out[2] = S(on), S(skip)
return out
