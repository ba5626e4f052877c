"""How many commands a call costs the server: by this the rest follows, and a number that grows is a mistake.

Times are measured by `make scale-redis`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from ferroq import Job, JobState
from ferroq.redis import RedisStorage
from ferroq.testing.contract import promises
from tests.servers import RedisServer

from .support import put, storage_on
from .test_faults import admin

pytestmark = [pytest.mark.scope("redis"), pytest.mark.anyio, pytest.mark.filterwarnings("ignore:appendonly is off")]

MOST = {"enqueue": 18, "claim": 24, "settle": 20, "extend": 14, "release": 24, "counts": 1}
"""Commands of a call of up to a hundred jobs, the call itself included; two chunks of marks or so are in it."""


def commands(server: Redis) -> int:
    info: Any = server.info("commandstats")
    return sum(one["calls"] for name, one in info.items() if name != "cmdstat_info")


async def costs(storage: RedisStorage, server: Redis, batch: int) -> dict[str, int]:
    found = {}

    async def counted(name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        before = commands(server)
        answer = await call()
        found[name] = commands(server) - before
        return answer

    jobs = [Job("work", ["x" * 96]) for _ in range(batch)]
    await counted("enqueue", lambda: storage.enqueue_many(jobs))
    held = await counted("claim", lambda: storage.fetch_available_jobs_atomic("w", batch))
    assert len(held) == batch
    await counted("extend", lambda: storage.extend_job_locks(held))
    for job in held:
        job.set_state(JobState.succeeded(1))
    await counted("settle", lambda: storage.update_many(held))
    again = await storage.fetch_available_jobs_atomic("w", batch)
    await counted("release", lambda: storage.release_jobs(again))
    await counted("counts", storage.get_job_counts)
    return found


@promises("Q6", "Q21")
@pytest.mark.parametrize("batch", [1, 100])
async def test_a_batch_is_a_handful_of_commands_whatever_is_stored(own_server: RedisServer, batch: int) -> None:
    async with storage_on(own_server.url) as storage:
        with admin(own_server) as server:
            await put(storage, 100)
            await costs(storage, server, batch)  # scripts are loaded
            few = await costs(storage, server, batch)
            await put(storage, 5000, "more")
            many = await costs(storage, server, batch)
    assert {name: count for name, count in {**few, **many}.items() if count > MOST[name]} == {}
    # Only in how many chunks of 256 the jobs of a batch lie may differ: two commands a chunk and kind, and one a claim.
    assert {name for name in few if many[name] > few[name] + 5} == set()
