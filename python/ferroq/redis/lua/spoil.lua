#!lua flags=allow-oom
-- include: base runs record commit
--
-- Moves claimed jobs that the caller cannot decode to failed [E3]; their bytes stay. ARGV three a job: six bytes of its
-- sequence, token, "1" where the body of its id is not its own: then it is no record from now on, so that whatever
-- removes it leaves that body alone. Returns how many.
local count = 0
for i = 1, #ARGV, 3 do
  local seq6 = ARGV[i]
  local h = call('HGET', JOB, seq6)
  if sound(h) and byte(h, 2) == 1 and unpackn('>I8', h, 15) == tonumber(ARGV[i + 1]) then
    leave(h, seq6)
    jobs[#jobs + 1] = seq6
    local head = until_worker(h)
    jobs[#jobs + 1] = (ARGV[i + 2] == '1' and '\0\3' or '\1\3') .. pack('>I4', unpackn('>I4', h, 3) + 1) .. sub(h, 7, 14)
      .. Z17 .. sub(h, 32, head) .. sub(h, head + byte(h, 31) + 1)
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
