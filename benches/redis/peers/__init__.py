"""What `make bench-redis` compares: queues on one server that each lead the same jobs through the same life."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

PAYLOAD = "x" * 96
"""About a hundred bytes as JSON, under whatever name the queue wants."""

IN_FLIGHT = 2
"""Batches under way at once, for every peer: the client works while the server does."""

OPERATIONS = ("enqueue", "claim", "settle", "life")


class Missing(Exception):
    """What a peer needs and the machine does not have; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What an operation took."""

    seconds: float
    """From the first request to the last acknowledgement."""
    cpu: float
    """Processor seconds of the client."""


class Peer(ABC):
    """One queue under test. Retention is the same for all: finished jobs are kept.

    The operations come in the order of `OPERATIONS`, each with the same numbers, on a server that holds nothing else;
    between `settle` and `life` it is emptied. `life` is enqueue, claim and settle of all by the way that the
    queue's documentation says is the fastest.
    """

    name: ClassVar[str]
    note: ClassVar[str] = ""
    share: ClassVar[float] = 1.0
    """Of the jobs that the others lead, for one that is slow in proportion."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connects. Raises `Missing`."""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    async def enqueue(self, jobs: int, batch: int) -> Spent: ...

    @abstractmethod
    async def claim(self, jobs: int, batch: int) -> Spent:
        """Takes all jobs, and keeps them for `settle`."""

    @abstractmethod
    async def settle(self, jobs: int, batch: int) -> Spent:
        """Completes what `claim` took, in the order in which it was taken: peers search their lists from that end."""

    @abstractmethod
    async def life(self, jobs: int, batch: int) -> Spent: ...


async def timed(work: Awaitable[None]) -> Spent:
    """For peers that live in this process."""
    begun, used = time.perf_counter(), time.process_time()
    await work
    return Spent(time.perf_counter() - begun, time.process_time() - used)


async def times(count: int, step: Callable[[], Awaitable[None]], at_once: int = IN_FLIGHT) -> None:
    """Calls `step` so many times, `at_once` at a time."""
    left = count

    async def loop() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await step()

    await asyncio.gather(*(loop() for _ in range(at_once)))
