"""Which layout of keys costs the server least? Measured before the backend was written: results/layouts.txt.

Each layout keeps the indexes that the contract needs: the id, claim order by queue, list order by kind of state, lapse
order, finish order, counts. Only what differs between them is modelled here: no validation, one queue, no errors.

* ``hash``    a hash a job, every index a sorted set of job ids
* ``zset``    records packed in two big hashes, short binary members, every index a sorted set
* ``bitmap``  the same, but the list order by kind is a bitmap over the insertion sequence, in chunks of 1,024 jobs

Run: ``python benches/redis/layouts.py URL [JOBS]`` against an empty server of your own (it calls FLUSHALL).
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from typing import Any

import redis

BATCH = 100
PAYLOAD = b'["' + b"x" * 96 + b'"]'
STATE = b'{"enqueued_at":1790000000000000}'
ROUNDS = 5

HASH = {
    "enqueue": """
local now = redis.call('TIME') now = now[1] * 1e6 + now[2]
local m = redis.call('HMGET', '{l}:meta', 'seq') local seq = tonumber(m[1] or '0')
local ready, kind = {}, {}
for i = 1, #ARGV, 4 do
  seq = seq + 1
  redis.call('HSET', '{l}:job:' .. ARGV[i], 'body', ARGV[i + 1], 'spec', ARGV[i + 2], 'state', ARGV[i + 3], 'kind', 0,
    'version', 1, 'priority', 0, 'queue', 'default', 'seq', seq, 'due', now, 'attempt', 0, 'crash', 0)
  ready[#ready + 1] = 0 ready[#ready + 1] = struct.pack('>I7I6', now, seq) .. ARGV[i]
  kind[#kind + 1] = seq kind[#kind + 1] = ARGV[i]
end
redis.call('ZADD', '{l}:q:default', unpack(ready))
redis.call('ZADD', '{l}:k0', unpack(kind))
redis.call('HSET', '{l}:meta', 'seq', seq)
redis.call('HINCRBY', '{l}:counts', 0, #ARGV / 4)
""",
    "claim": """
local now = redis.call('TIME') now = now[1] * 1e6 + now[2]
local due = redis.call('ZRANGE', '{l}:lapse', '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
local got = redis.call('ZRANGE', '{l}:q:default', 0, ARGV[1] - 1)
local out, kind, lapse, ids = {}, {}, {}, {}
for i, member in ipairs(got) do
  local id = member:sub(14)
  local r = redis.call('HMGET', '{l}:job:' .. id, 'body', 'spec', 'version', 'priority', 'attempt', 'crash', 'seq')
  redis.call('HSET', '{l}:job:' .. id, 'state', ARGV[2], 'kind', 1, 'version', r[3] + 1, 'attempt', r[5] + 1,
    'token', string.format('%.0f', now + i), 'expires', string.format('%.0f', now + 1.8e9))
  ids[i] = id out[i] = r
  kind[2 * i - 1] = r[7] kind[2 * i] = id
  lapse[2 * i - 1] = now + 1.8e9 lapse[2 * i] = id
end
redis.call('ZREM', '{l}:q:default', unpack(got))
redis.call('ZREM', '{l}:k0', unpack(ids))
redis.call('ZADD', '{l}:k1', unpack(kind))
redis.call('ZADD', '{l}:lapse', unpack(lapse))
redis.call('HINCRBY', '{l}:counts', 0, -#got)
redis.call('HINCRBY', '{l}:counts', 1, #got)
return {ids, out}
""",
    "settle": """
local now = redis.call('TIME') now = now[1] * 1e6 + now[2]
local kind, fin = {}, {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local r = redis.call('HMGET', '{l}:job:' .. id, 'kind', 'token', 'version', 'seq')
  redis.call('HSET', '{l}:job:' .. id, 'state', ARGV[1], 'kind', 2, 'version', r[3] + 1, 'token', 0,
    'trace', r[2] .. ':2:' .. r[3])
  kind[#kind + 1] = r[4] kind[#kind + 1] = id
  fin[#fin + 1] = now fin[#fin + 1] = id
end
redis.call('ZREM', '{l}:k1', unpack(ARGV, 2))
redis.call('ZREM', '{l}:lapse', unpack(ARGV, 2))
redis.call('ZADD', '{l}:k2', unpack(kind))
redis.call('ZADD', '{l}:f2', unpack(fin))
redis.call('HINCRBY', '{l}:counts', 1, 1 - #ARGV)
redis.call('HINCRBY', '{l}:counts', 2, #ARGV - 1)
""",
}

# The two packed layouts share everything but mark(kind, sequences, on).
_ZSET_MARK = """
local function mark(kind, seqs, on)
  local args = {}
  for i = 1, #seqs do
    if on then args[2 * i - 1] = seqs[i] args[2 * i] = struct.pack('>I6', seqs[i])
    else args[i] = struct.pack('>I6', seqs[i]) end
  end
  redis.call(on and 'ZADD' or 'ZREM', '{l}:k' .. kind, unpack(args))
end
"""
_BITMAP_MARK = """
local bor, band, lshift = bit.bor, bit.band, bit.lshift
local function mark(kind, seqs, on)
  local chunks = {}
  for i = 1, #seqs do
    local c = math.floor(seqs[i] / 1024)
    local list = chunks[c]
    if not list then list = {} chunks[c] = list end
    list[#list + 1] = 1023 - seqs[i] % 1024
  end
  for c, list in pairs(chunks) do
    local key = '{l}:k' .. kind .. ':' .. c
    local old = redis.call('GET', key)
    local bytes = {string.byte(old or string.rep('\\0', 128), 1, 128)}
    for i = 1, #list do
      local n = list[i]
      local at, mask = (n - n % 8) / 8 + 1, 2 ^ (7 - n % 8)
      local value = bytes[at]
      local is = value % (2 * mask) >= mask
      if on ~= is then bytes[at] = on and value + mask or value - mask end
    end
    local new = string.char(unpack(bytes))
    if not old then redis.call('ZADD', '{l}:d' .. kind, c, c) end
    if not on and not new:find('[^%z]') then
      redis.call('DEL', key) redis.call('ZREM', '{l}:d' .. kind, c)
    else redis.call('SET', key, new) end
  end
end
"""
_PACKED = {
    "enqueue": """
local now = redis.call('TIME') now = now[1] * 1e6 + now[2]
local m = redis.call('HMGET', '{l}:meta', 'seq', 'c0') local seq = tonumber(m[1] or '0')
local jobs, bodies, ready, seqs = {}, {}, {}, {}
for i = 1, #ARGV, 4 do
  seq = seq + 1
  local s6 = struct.pack('>I6', seq)
  jobs[#jobs + 1] = s6
  jobs[#jobs + 1] = struct.pack('>BBc0BI4i4I4I4I4I8I8I8I8BI4I4Bc0Bc0I4c0', 1, #ARGV[i], ARGV[i], 0, 1, 0, 0, 0, 0, now,
    0, 0, 0, 0, 0, #ARGV[i + 1], 7, 'default', 0, '', #ARGV[i + 2], ARGV[i + 2]) .. ARGV[i + 3]
  bodies[#bodies + 1] = ARGV[i] bodies[#bodies + 1] = s6 .. ARGV[i + 1]
  ready[#ready + 1] = 0 ready[#ready + 1] = struct.pack('>I7', now) .. s6
  seqs[#seqs + 1] = seq
end
redis.call('HSET', '{l}:job', unpack(jobs))
redis.call('HSET', '{l}:body', unpack(bodies))
redis.call('ZADD', '{l}:q:default', unpack(ready))
mark(0, seqs, true)
redis.call('HSET', '{l}:meta', 'seq', seq, 'c0', (m[2] or 0) + #seqs)
""",
    "claim": """
local now = redis.call('TIME') now = now[1] * 1e6 + now[2]
local m = redis.call('HMGET', '{l}:meta', 'seq', 'c0', 'c1')
local due = redis.call('ZRANGE', '{l}:lapse', '-inf', now, 'BYSCORE', 'LIMIT', 0, 100)
local got = redis.call('ZRANGE', '{l}:q:default', 0, ARGV[1] - 1, 'WITHSCORES')
local fields, seqs = {}, {}
for i = 1, #got, 2 do fields[#fields + 1] = got[i]:sub(8) end
local heads = redis.call('HMGET', '{l}:job', unpack(fields))
local out, jobs, lapse, ids = {}, {}, {}, {}
for i, h in ipairs(heads) do
  local _, id, _, version, priority, attempt, crash, retry, due, _, _, tt, tk, tv, len, queue, _, spec =
    struct.unpack('>BBc0BI4i4I4I4I4I8I8I8I8BI4I4Bc0Bc0I4c0', h)
  local new = struct.pack('>BBc0BI4i4I4I4I4I8I8I8I8BI4I4Bc0Bc0I4c0', 1, #id, id, 1, version + 1, priority, attempt + 1,
    crash, retry, due, now + i, now + 1.8e9, tt, tk, tv, len, #queue, queue, 2, 'w1', #spec, spec) .. ARGV[2]
  jobs[2 * i - 1] = fields[i] jobs[2 * i] = new
  lapse[2 * i - 1] = now + 1.8e9 lapse[2 * i] = fields[i]
  seqs[i] = struct.unpack('>I6', fields[i])
  ids[i] = id out[i] = new
end
local bodies = redis.call('HMGET', '{l}:body', unpack(ids))
redis.call('ZREMRANGEBYRANK', '{l}:q:default', 0, #heads - 1)
redis.call('HSET', '{l}:job', unpack(jobs))
redis.call('ZADD', '{l}:lapse', unpack(lapse))
mark(0, seqs, false)
mark(1, seqs, true)
redis.call('HSET', '{l}:meta', 'c0', m[2] - #heads, 'c1', (m[3] or 0) + #heads, 'tok', now)
return {out, bodies}
""",
    "settle": """
local now = redis.call('TIME') now = now[1] * 1e6 + now[2]
local m = redis.call('HMGET', '{l}:meta', 'seq', 'c1', 'c2')
local fields = {unpack(ARGV, 2)}
local heads = redis.call('HMGET', '{l}:job', unpack(fields))
local jobs, fin, seqs = {}, {}, {}
for i, h in ipairs(heads) do
  local _, id, _, version, priority, attempt, crash, retry, due, token, _, _, _, _, len, queue, _, spec =
    struct.unpack('>BBc0BI4i4I4I4I4I8I8I8I8BI4I4Bc0Bc0I4c0', h)
  jobs[2 * i - 1] = fields[i]
  jobs[2 * i] = struct.pack('>BBc0BI4i4I4I4I4I8I8I8I8BI4I4Bc0Bc0I4c0', 1, #id, id, 2, version + 1, priority, attempt,
    crash, retry, due, 0, 0, token, 2, version + 1, len, #queue, queue, 0, '', #spec, spec) .. ARGV[1]
  fin[2 * i - 1] = now fin[2 * i] = fields[i]
  seqs[i] = struct.unpack('>I6', fields[i])
end
redis.call('ZREM', '{l}:lapse', unpack(fields))
redis.call('HSET', '{l}:job', unpack(jobs))
redis.call('ZADD', '{l}:f2', unpack(fin))
mark(1, seqs, false)
mark(2, seqs, true)
redis.call('HSET', '{l}:meta', 'c1', m[2] - #heads, 'c2', (m[3] or 0) + #heads)
""",
}
LAYOUTS = {
    "hash": HASH,
    "zset": {name: _ZSET_MARK + text for name, text in _PACKED.items()},
    "bitmap": {name: _BITMAP_MARK + text for name, text in _PACKED.items()},
}


def server_cpu(r: redis.Redis) -> float:
    info: Any = r.info("cpu")
    return float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"])


def memory(r: Any) -> int:
    info: Any = r.info("memory")
    return int(info["used_memory"])


def run(r: Any, layout: str, jobs: int) -> tuple[list[float], list[float]]:
    """CPU microseconds a job of enqueue, claim, settle; bytes a job when ready and when finished."""
    r.execute_command("FLUSHALL", "SYNC")  # what a server frees in the background would count as the next layout's gain
    scripts = {name: r.register_script(text) for name, text in LAYOUTS[layout].items()}
    for script in scripts.values():
        r.script_load(script.script)
    batches = [[str(uuid.uuid4()).encode() for _ in range(BATCH)] for _ in range(jobs // BATCH)]
    base = memory(r)
    cpu = []
    started = server_cpu(r)
    for ids in batches:
        args: list[bytes] = []
        for i in ids:
            args += (i, struct_body(), b"\0" * 10, STATE)
        scripts["enqueue"](args=args)
    cpu.append(server_cpu(r) - started)
    ready = memory(r) - base
    started = server_cpu(r)
    held: list[list[bytes]] = []
    state = b'{"started_at":1790000000000000,"worker_id":"w1","server_name":"host"}'
    for _ in batches:
        heads, _bodies = scripts["claim"](args=[BATCH, state])
        held.append(heads)
    cpu.append(server_cpu(r) - started)
    started = server_cpu(r)
    done = b'{"succeeded_at":1790000000000000,"total_duration":12,"result":null}'
    for n, heads in enumerate(held):
        fields = heads if layout == "hash" else [(n * BATCH + i + 1).to_bytes(6, "big") for i in range(BATCH)]
        scripts["settle"](args=[done, *fields])
    cpu.append(server_cpu(r) - started)
    finished = memory(r) - base
    return [1e6 * c / jobs for c in cpu], [ready / jobs, finished / jobs]


def struct_body() -> bytes:
    return b"\0" * 8 + b"\x0asend_email" + PAYLOAD


def main() -> None:
    url = sys.argv[1]
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    r = redis.Redis.from_url(url)
    info: Any = r.info("server")
    name = f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}"
    print(f"{name}; {jobs} jobs, batches of {BATCH}, payload {len(PAYLOAD)}; medians of {ROUNDS} interleaved rounds")
    results: dict[str, list[tuple[list[float], list[float]]]] = {layout: [] for layout in LAYOUTS}
    for _ in range(ROUNDS):
        for layout in LAYOUTS:
            results[layout].append(run(r, layout, jobs))
            time.sleep(0.1)
    print("layout    enqueue    claim   settle     life  µs CPU a job    ready finished bytes a job")
    for layout, rows in results.items():
        cpu = [statistics.median(row[0][i] for row in rows) for i in range(3)]
        size = [statistics.median(row[1][i] for row in rows) for i in range(2)]
        life = statistics.median(sum(row[0]) for row in rows)
        print(f"{layout:8} {cpu[0]:8.2f} {cpu[1]:8.2f} {cpu[2]:8.2f} {life:8.2f} {'':16} {size[0]:6.0f} {size[1]:8.0f}")
    r.flushall()


if __name__ == "__main__":
    main()
