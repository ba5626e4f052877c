"""Words for the tests of the Redis backend: a store for a test, and a proxy that breaks replies."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from ferroq import Job
from ferroq.errors import StorageWarning
from ferroq.redis import RedisConfig, RedisStorage

BOUND = 10.0
"""Real seconds after which a call has hung."""


@asynccontextmanager
async def storage_on(url: str, **options: Any) -> AsyncIterator[RedisStorage]:
    """An open storage on a fresh prefix; sound at its end is the test's to say."""
    fields: dict[str, Any] = {"key_prefix": f"test-{uuid4().hex}", "command_timeout": 2, "connection_timeout": 2}
    fields |= options
    storage = RedisStorage(RedisConfig(url=url, **fields))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "appendonly is off", StorageWarning)
        await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def put(storage: RedisStorage, count: int, name: str = "job") -> list[Job]:
    """Enqueues so many jobs."""
    jobs = [Job("work", [index], id=f"{name}-{index}") for index in range(count)]
    assert all(await storage.enqueue_many(jobs))
    return jobs


class Proxy:
    """Stands between a client and a server, and harms what the server says.

    `spoil` is called with each piece of an answer; what it returns is passed on, None cuts the connection. `deaf` takes
    connections and answers nothing. What harms once says so itself, by setting `spoil` back to None.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.spoil: Callable[[bytes], bytes | None] | None = None
        self.deaf = False
        self.connections = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        onwards = asyncio.ensure_future(self._onwards(reader, back))
        try:
            while data := await there.read(1 << 16):
                if self.deaf:
                    continue
                harmed = self.spoil(data) if self.spoil is not None else data
                if harmed:
                    writer.write(harmed)
                    await writer.drain()
                if harmed is None or len(harmed) < len(data):
                    break
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            onwards.cancel()
            await asyncio.gather(onwards, return_exceptions=True)
            writer.close()
            back.close()
            self._tasks.discard(task)

    @staticmethod
    async def _onwards(reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            back.write(data)
            await back.drain()

    def lose_next(self, keep: float = 0.0) -> None:
        """Cuts the connection within the next answer, of which the first part (0: nothing) is passed on."""

        def spoil(data: bytes) -> bytes | None:
            self.spoil = None
            return data[: int(len(data) * keep)] or None

        self.spoil = spoil
