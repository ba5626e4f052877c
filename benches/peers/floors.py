"""Floors: what the interpreter itself asks, with no contract kept. Nothing here is a store that one could use."""

from __future__ import annotations

from heapq import heappop, heappush
from queue import SimpleQueue
from typing import Any

from benches.contender import BATCH, METHOD, Contender


class DictAndHeap(Contender):
    name = "bare dict and heapq"
    group = "floor"
    note = "a tuple in a dict, its key in a heap: no id, no check, no time, no lock"

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.jobs: dict[int, tuple[Any, ...]] = {}
        self.done = 0

    async def singles(self, lives: int) -> None:
        arguments, jobs = self.arguments, self.jobs
        heap: list[tuple[int, int]] = []
        for key in range(lives):
            jobs[key] = (METHOD, arguments, "enqueued")
            heappush(heap, (0, key))
            _, found = heappop(heap)
            jobs[found] = (*jobs[found][:2], "succeeded")
        self.done += lives

    async def batches(self, lives: int) -> None:
        arguments, jobs = self.arguments, self.jobs
        heap: list[tuple[int, int]] = []
        for start in range(0, lives, BATCH):
            for key in range(start, start + BATCH):
                jobs[key] = (METHOD, arguments, "enqueued")
                heappush(heap, (0, key))
            for found in [heappop(heap)[1] for _ in range(BATCH)]:
                jobs[found] = (*jobs[found][:2], "succeeded")
        self.done += lives

    async def finished(self) -> int:
        return self.done


class Simple(Contender):
    name = "queue.SimpleQueue"
    group = "floor"
    note = "put and get; nothing is kept"

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.done = 0

    async def singles(self, lives: int) -> None:
        arguments = self.arguments
        queue: SimpleQueue[tuple[str, list[Any]]] = SimpleQueue()
        for _ in range(lives):
            queue.put((METHOD, arguments))
            queue.get()
        self.done += lives

    async def batches(self, lives: int) -> None:
        arguments = self.arguments
        queue: SimpleQueue[tuple[str, list[Any]]] = SimpleQueue()
        for _ in range(lives // BATCH):
            for _ in range(BATCH):
                queue.put((METHOD, arguments))
            for _ in range(BATCH):
                queue.get()
        self.done += lives

    async def finished(self) -> int:
        return self.done


class Awaits(Contender):
    name = "four empty awaits"
    group = "floor"
    note = "four `async def` calls that return at once, a life or a batch"

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.done = 0

    async def singles(self, lives: int) -> None:
        for _ in range(lives):
            await _nothing()
            await _nothing()
            await _nothing()
            await _nothing()
        self.done += lives

    async def batches(self, lives: int) -> None:
        await self.singles(lives // BATCH)
        self.done += lives - lives // BATCH

    async def finished(self) -> int:
        return self.done


async def _nothing() -> None:
    return None
