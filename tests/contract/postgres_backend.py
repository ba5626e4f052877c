"""The Postgres backend, as the contract suite sees it: a schema for each store, on a server that is shared."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import asyncpg

from ferroq.postgres import PostgresConfig, PostgresStorage
from ferroq.postgres.clock import Clock
from ferroq.storage import Storage
from ferroq.testing import ContractBackend

_numbers = itertools.count()


class PostgresBackend(ContractBackend):
    """Stores on the server's own clock, moved by the private offset."""

    name = "postgres"
    features = frozenset({"corrupt"})

    def __init__(self, dsn: str, **options: Any) -> None:
        """Args:
        dsn: of a role that may create schemas.
        options: fields of every configuration, such as another address to connect to.
        """
        self.dsn = dsn
        self.options = options
        self.clock = Clock()
        self.opened: list[PostgresStorage] = []
        self.schemas: list[str] = []

    def made(self, schema: str, **options: Any) -> PostgresStorage:
        """An unopened storage that goes by this backend's clock."""
        fields = {"database_url": self.dsn, "schema_name": schema, "max_connections": 8, **self.options, **options}
        storage = PostgresStorage(PostgresConfig(**fields))
        storage._clock = self.clock
        self.opened.append(storage)
        return storage

    async def prepare(self, schema: str) -> None:
        """Makes the tables, where the storage is not to."""

    async def open(self, **options: Any) -> Storage:
        schema = f"t{os.getpid()}_{next(_numbers)}"
        self.schemas.append(schema)
        await self.prepare(schema)
        return await self.made(schema, **{"auto_migrate": True, **options})

    async def reopen(self, storage: Storage) -> Storage:
        assert isinstance(storage, PostgresStorage)
        other = storage.clone()
        self.opened.append(other)
        return await other

    async def advance(self, seconds: float) -> None:
        self.clock.offset += round(seconds * 1_000_000)

    async def now(self) -> datetime:
        connection = await asyncpg.connect(self.dsn)
        try:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        finally:
            await connection.close()
        return now.astimezone(UTC) + timedelta(microseconds=self.clock.offset)

    async def corrupt(self, storage: Storage, job_id: str, part: Literal["record", "arguments"]) -> None:
        assert isinstance(storage, PostgresStorage)
        schema = storage.config.schema_name
        column = "metadata" if part == "record" else "arguments"
        connection = await asyncpg.connect(self.dsn)
        try:
            done = await connection.execute(f"UPDATE {schema}.job SET {column} = '{{broken' WHERE id = $1", job_id)
        finally:
            await connection.close()
        assert done == "UPDATE 1"

    async def close(self) -> None:
        for storage in self.opened:
            await storage.close()
        connection = await asyncpg.connect(self.dsn)
        try:
            for schema in self.schemas:
                await self._audit(connection, schema)
                await connection.execute(f"DROP SCHEMA {schema} CASCADE")
            left = await connection.fetchval(
                "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
                " WHERE l.locktype = 'advisory' AND a.state = 'idle'"
            )
        finally:
            await connection.close()
        assert left == 0, "an idle session holds an advisory lock"

    async def _audit(self, connection: asyncpg.Connection, schema: str) -> None:
        """No row is left that no job accounts for, and nothing but our tables."""
        orphans = await connection.fetchval(
            f"SELECT (SELECT count(*) FROM {schema}.job) - (SELECT count(*) FROM {schema}.record)"
        )
        assert orphans == 0, "a job stands nowhere, or in two places"
        for table in ("ready", "lease", "future", "done"):
            lost = await connection.fetchval(
                f"SELECT count(*) FROM {schema}.{table} t WHERE NOT EXISTS"
                f" (SELECT FROM {schema}.job j WHERE j.seq = t.seq)"
            )
            assert lost == 0, f"{lost} rows of {table} without a job"
        markers = await connection.fetchval(f"SELECT count(*) FROM {schema}.explicit_lock WHERE worker = ''")
        assert markers == 0, "a marker is left among the locks"
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace($1)", schema
        )
        assert {row["relname"] for row in tables} == {
            "job", "ready", "lease", "future", "done", "explicit_lock", "migration",
        }  # fmt: skip
