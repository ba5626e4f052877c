-- A claim of one job that is enqueued, while nothing is due, lapsed or under an explicit lock, there is one queue to look
-- at, and the request was not seen before.
if ARGV[1] == '1' and not ARGV[11] and call('HLEN', LOCKS) == 0 then
  local slot, instant, name = P .. 'r:' .. ARGV[6], S(now), ARGV[10]
  local kept = call('GET', slot)
  local fine = not (kept and sub(kept, 1, 8) == ARGV[7])
    and not call('ZRANGE', TIMERS, '-inf', instant, 'BYSCORE', 'LIMIT', 0, 1)[1]
  if fine and not name then
    local names = call('ZRANGE', QUEUES, 0, 1)
    name, fine = names[1], not names[2]
    if not name then return {'0', '0', 0, ''} end
  end
  local queue, members, seq6, h
  if fine then
    queue = P .. 'q:' .. name
    -- One more than wanted: says whether the queue will be empty.
    members = call('ZRANGE', queue, 0, 1)
    if not members[1] then return {'0', '0', 0, ''} end
    seq6 = sub(members[1], 8)
    h = call('HGET', JOB, seq6)
  end
  if h and #h > 71 then
    local format, kind, version, attempt, crash, _, _, wide = unpackn('>BBI4I4I4I8I8B', h)
    local head, id, size = unpackn('>I4BB', h, 65)
    if format == 1 and kind == 0 and 70 + id + size <= head and head + wide <= #h then
      local token, expires = math.max((M[3] or 0) + 1, now), now + ARGV[2]
      local token_text, expires_text, expires8 = S(token), S(expires), pack('>I8', expires)
      local new = '\1\1' .. pack('>I4I4I4I8', version + 1, attempt + 1, crash, token) .. expires8 .. char(#ARGV[4])
        .. sub(h, 32, head) .. ARGV[4] .. '{"started_at":' .. instant .. ARGV[5]
      local body = call('HGET', BODY, sub(h, 71, 70 + id)) or ''
      local emptied = not members[2]
      if emptied then call('ZCARD', QUEUES) end
      local chunk, at = unpackn('>I5B', seq6)
      local key, value, listed, unlisted = remark_one(chunk, at, '0', '1')

      call('ZREMRANGEBYRANK', queue, 0, 0)
      if emptied then call('ZREM', QUEUES, name) end
      call('HSET', JOB, seq6, new)
      call('ZADD', TIMERS, expires_text, seq6)
      call('SET', key, value)
      if unlisted then call('ZREM', P .. 'd0', unlisted) end
      if listed then call('ZADD', P .. 'd1', listed, listed) end
      call('HSET', META, 'token', token_text, 'c0', S((M[4] or 0) - 1), 'c1', S((M[5] or 0) + 1))
      call('SET', slot, ARGV[7] .. sub(new, 15, 22) .. expires8 .. seq6, 'PX', ARGV[8])
      return {token_text, expires_text, 0, seq6, new, body}
    end
  end
end
