#!lua flags=no-writes
-- include: base record
--
-- One job [Q2]. ARGV 1 id. Returns {record or "", body}, or nothing.
local body = call('HGET', BODY, ARGV[1])
if not body then return false end
return {call('HGET', JOB, seq_of(body)) or '', body}
