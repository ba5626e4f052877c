"""The Redis backend, as the contract suite sees it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from redis.asyncio import Redis

from ferroq.redis import RedisConfig, RedisStorage
from ferroq.storage import Storage
from ferroq.testing import ContractBackend

# What a store may leave behind: the fixed keys, those that stand for jobs still stored, and remembered answers.
KNOWN = re.compile(
    rb"(?:meta|job|body|timers|locks|queues|ends|q:.{1,255}|k:[0-9]+|d[0-6]|f[2-4]|r:[0-9a-f]{16}:[0-9]+)", re.DOTALL
)


class RedisBackend(ContractBackend):
    """Stores of prefixes of their own on one server, whose clock is moved by the stores' private offset."""

    name = "redis"
    features = frozenset({"corrupt"})

    def __init__(self, url: str, **options: Any) -> None:
        self.url = url
        self.options = options
        self.offset = timedelta()
        self.opened: list[RedisStorage] = []
        self.prefixes: list[str] = []

    def admin(self, prefix: str) -> Redis:
        """A plain client of the server that holds the store."""
        del prefix
        return Redis.from_url(self.url, protocol=2)

    async def open(self, **options: Any) -> Storage:
        prefix = options.pop("key_prefix", None) or f"test-{uuid4().hex}"
        config = RedisConfig.from_url(self.url)
        fields: dict[str, Any] = {"url": config.url, "db": config.db, **self.options, **options}
        self.prefixes.append(prefix)
        await self._set_clock(prefix)
        return await self._opened(RedisStorage(RedisConfig(key_prefix=prefix, **fields)))

    async def _opened(self, storage: RedisStorage) -> RedisStorage:
        await storage.open()
        self.opened.append(storage)
        return storage

    async def reopen(self, storage: Storage) -> Storage:
        assert isinstance(storage, RedisStorage)
        return await self._opened(RedisStorage(storage.config))

    async def _set_clock(self, prefix: str) -> None:
        async with self.admin(prefix) as admin:
            await admin.hset(f"{{{prefix}}}:meta", "clock", str(self.offset // timedelta(microseconds=1)))

    async def advance(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)
        for prefix in self.prefixes:
            await self._set_clock(prefix)

    async def now(self) -> datetime:
        async with self.admin(self.prefixes[-1] if self.prefixes else "none") as admin:
            seconds, microseconds = await admin.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds) + self.offset

    async def corrupt(self, storage: Storage, job_id: str, part: Literal["record", "arguments"]) -> None:
        assert isinstance(storage, RedisStorage)
        prefix = storage.config.key_prefix
        async with self.admin(prefix) as admin:
            body: Any = await admin.hget(f"{{{prefix}}}:body", job_id)
            sequence = body[:6]
            if part == "arguments":
                await admin.hset(f"{{{prefix}}}:body", job_id, body[:-1] + b"\xff")
            else:
                record: Any = await admin.hget(f"{{{prefix}}}:job", sequence)
                await admin.hset(f"{{{prefix}}}:job", sequence, b"\x00" + record[1:])

    async def close(self) -> None:
        for storage in self.opened:
            await storage.close()
        for prefix in dict.fromkeys(self.prefixes):
            async with self.admin(prefix) as admin:
                await self._account(admin, prefix)

    async def _account(self, admin: Redis, prefix: str) -> None:
        """Every key is one of the layout's, and where no job and no lock is left, nothing is but counters."""
        base = f"{{{prefix}}}:".encode()
        keys = [key async for key in admin.scan_iter(match=base + b"*", count=1000)]
        strange = [key for key in keys if not KNOWN.fullmatch(key[len(base) :])]
        for key in keys:
            if key[len(base) :].startswith(b"r:"):
                assert 0 < await admin.pttl(key) < 120_000, f"{key!r} does not expire"
        counts = await admin.hmget(base + b"meta", *(f"c{kind}" for kind in range(7)))
        if not sum(int(count or 0) for count in counts) and not await admin.exists(base + b"locks"):
            strange += [key for key in keys if key != base + b"meta" and not key.startswith(base + b"r:")]
        if keys:
            await admin.delete(*keys)
        assert strange == [], f"left behind: {strange}"
