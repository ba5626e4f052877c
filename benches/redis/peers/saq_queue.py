"""SAQ: no batches of its own, so as many calls at once as the batch has jobs, over as many connections as help."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from importlib.metadata import version
from typing import Any

from . import IN_FLIGHT, PAYLOAD, Missing, Peer, Spent, timed, times

MOST = 100
"""Calls at once: each needs a connection, and more of them made it slower."""


class Saq(Peer):
    name = "SAQ"
    note = f"enqueue, dequeue, Job.finish by hand (its Worker does more), up to {MOST} at once, ttl 0"
    share = 0.1

    async def open(self, url: str) -> None:
        try:
            from saq import Queue
        except ImportError as error:
            raise Missing("SAQ is missing: pip install 'ferroq[bench]'") from error
        logging.getLogger("saq").setLevel(logging.ERROR)
        self.queue: Any = Queue.from_url(url, max_concurrent_ops=MOST)
        await self.queue.connect()
        self.held: deque[Any] = deque()

    async def close(self) -> None:
        await self.queue.disconnect()

    def version(self) -> str:
        return version("saq")

    @staticmethod
    def _at_once(batch: int) -> int:
        return min(MOST, batch * IN_FLIGHT)

    async def _enqueue(self) -> None:
        assert await self.queue.enqueue("send_email", text=PAYLOAD, ttl=0, timeout=1800)

    async def _claim(self) -> None:
        job = await self.queue.dequeue(timeout=10)
        assert job is not None
        self.held.append(job)

    async def _settle(self) -> None:
        from saq import Status

        await self.held.popleft().finish(Status.COMPLETE)

    async def enqueue(self, jobs: int, batch: int) -> Spent:
        return await timed(times(jobs, self._enqueue, self._at_once(batch)))

    async def claim(self, jobs: int, batch: int) -> Spent:
        return await timed(times(jobs, self._claim, self._at_once(batch)))

    async def settle(self, jobs: int, batch: int) -> Spent:
        return await timed(times(jobs, self._settle, self._at_once(batch)))

    async def life(self, jobs: int, batch: int) -> Spent:
        async def drain() -> None:
            await self._claim()
            await self._settle()

        async def all_of_it() -> None:
            await times(jobs, self._enqueue, self._at_once(batch))
            await times(jobs, drain, self._at_once(batch))

        return await timed(asyncio.ensure_future(all_of_it()))
