"""This package."""

from __future__ import annotations

from collections import deque
from importlib.metadata import version

from ferroq import Job, JobState
from ferroq.redis import RedisConfig, RedisStorage

from . import PAYLOAD, Peer, Spent, timed, times


class Ours(Peer):
    name = "ferroq"
    note = "enqueue_many, fetch_available_jobs_atomic, update_many"

    async def open(self, url: str) -> None:
        self.storage = RedisStorage(RedisConfig(url=url, command_timeout=60))
        await self.storage.open()
        self.held: deque[list[Job]] = deque()

    async def close(self) -> None:
        await self.storage.close()

    def version(self) -> str:
        return version("ferroq")

    async def _enqueue(self, batch: int) -> None:
        if batch == 1:
            await self.storage.enqueue(Job("send_email", [PAYLOAD]))
        else:
            await self.storage.enqueue_many([Job("send_email", [PAYLOAD]) for _ in range(batch)])

    async def _claim(self, batch: int) -> None:
        if batch == 1:
            job = await self.storage.fetch_and_lock_job("worker")
            assert job is not None
            self.held.append([job])
        else:
            self.held.append(await self.storage.fetch_available_jobs_atomic("worker", batch))
        assert len(self.held[-1]) == batch

    async def _settle(self) -> None:
        jobs = self.held.popleft()
        for job in jobs:
            job.set_state(JobState.succeeded(1))
        if len(jobs) == 1:
            await self.storage.update(jobs[0])
        else:
            verdicts = await self.storage.update_many(jobs)
            assert not any(verdicts)

    async def enqueue(self, jobs: int, batch: int) -> Spent:
        return await timed(times(jobs // batch, lambda: self._enqueue(batch)))

    async def claim(self, jobs: int, batch: int) -> Spent:
        return await timed(times(jobs // batch, lambda: self._claim(batch)))

    async def settle(self, jobs: int, batch: int) -> Spent:
        return await timed(times(jobs // batch, self._settle))

    async def life(self, jobs: int, batch: int) -> Spent:
        async def drain() -> None:
            await self._claim(batch)
            await self._settle()

        async def all_of_it() -> None:
            await times(jobs // batch, lambda: self._enqueue(batch))
            await times(jobs // batch, drain)

        return await timed(all_of_it())
