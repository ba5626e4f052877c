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

-- The chunk with the highest number at or under `chunk`, of any of the kinds.
local function chunk_under(chunk)
  local best
  for i = 1, #kinds do
    local found = call('ZRANGE', P .. 'd' .. sub(kinds, i, i), chunk, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1)[1]
    if found and (not best or tonumber(found) > best) then best = tonumber(found) end
  end
  return best
end

-- The bitmap of a chunk over all the kinds, as a list of bytes, and how many bits it has.
local function bits_of(chunk)
  local bytes, count = nil, 0
  for i = 1, #kinds do
    local key = P .. 'k' .. sub(kinds, i, i) .. ':' .. S(chunk)
    local value = call('GET', key)
    if value then
      count = count + call('BITCOUNT', key)
      local these = {byte(value, 1, 128)}
      if not bytes then
        bytes = these
      else
        -- A job is of one kind at a time: no bit is set twice, and adding is joining.
        for n = 1, math.max(#these, #bytes) do bytes[n] = (bytes[n] or 0) + (these[n] or 0) end
      end
    end
  end
  return bytes or {}, count
end

local found, looked = {}, 0
local chunk = chunk_under(below > 0 and S(math.floor((below - 1) / 1024)) or '+inf')
local over = false
while chunk and not over do
  local bytes, count = bits_of(chunk)
  local base = chunk * 1024
  if plain and skip >= count and (below == 0 or below > base + 1023) then
    skip = skip - count
    looked = looked + 8
    below = base
    if looked >= budget then break end
  else
    for at = #bytes, 1, -1 do
      local value = bytes[at]
      if value > 0 then
        for n = 7, 0, -1 do
          local mask = 2 ^ (7 - n)
          local seq = base + (at - 1) * 8 + n
          if value % (2 * mask) >= mask and (below == 0 or seq < below) then
            if looked >= budget or (plain and #found >= limit) then
              over = true
              break
            end
            looked = looked + 1
            below = seq
            if plain and skip > 0 then skip = skip - 1 else found[#found + 1] = pack('>I6', seq) end
          end
        end
      end
      if over then break end
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
        local size = fine and #h + unpackn('>I4', h, 60) or #h
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
