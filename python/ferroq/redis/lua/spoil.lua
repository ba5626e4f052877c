#!lua flags=allow-oom
-- include: base record commit
--
-- Moves claimed jobs that the caller cannot decode to failed [E3]; their bytes stay. ARGV two a job: six bytes of its
-- sequence, token. Returns how many.
local count = 0
for i = 1, #ARGV, 2 do
  local seq6 = ARGV[i]
  local h = call('HGET', JOB, seq6)
  if sound(h) and byte(h, 2) == 1 and unpackn('>I8', h, 15) == tonumber(ARGV[i + 1]) then
    leave(h, seq6)
    jobs[#jobs + 1] = seq6
    jobs[#jobs + 1] = '\1\3' .. pack('>I4', unpackn('>I4', h, 3) + 1) .. sub(h, 7, 14) .. Z17 .. sub(h, 32, until_worker(h)) .. sub(h, until_worker(h) + byte(h, 31) + 1)
    mark(seq6, 1, 3)
    into(done, 3, S(now), seq6)
    count = count + 1
  end
end
if count > 0 then
  check()
  write()
end
return count
