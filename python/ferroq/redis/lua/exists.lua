#!lua flags=no-writes
-- include: base
--
-- Which of some ids are stored, also on a server that is full [Q1]. ARGV ids. Returns their positions.
local out = {}
for i = 1, #ARGV do
  if call('HEXISTS', BODY, ARGV[i]) == 1 then out[#out + 1] = i end
end
return out
