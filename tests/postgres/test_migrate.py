"""Migrations and the command that makes them."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from ferroq import Job
from ferroq.errors import SchemaMismatchError
from ferroq.postgres import migrate
from ferroq.testing.contract import promises
from tests.contract.postgres_backend import PostgresBackend

pytestmark = [pytest.mark.anyio, pytest.mark.scope("postgres")]


async def fresh(backend: PostgresBackend, name: str) -> str:
    """A schema that is not there yet; its backend drops it."""
    schema = f"m_{name}_{id(backend)}"
    backend.schemas.append(schema)
    return schema


@promises("C4")
async def test_without_tables_it_says_what_to_run(backend: PostgresBackend, connection: asyncpg.Connection) -> None:
    schema = await fresh(backend, "none")
    for prepare in ("SELECT 1", f"CREATE SCHEMA {schema}"):
        await connection.execute(prepare)
        with pytest.raises(SchemaMismatchError, match=f"ferroq migrate --schema {schema}"):
            await backend.made(schema).open()
    await migrate.apply(connection, schema)
    await backend.made(schema).open()


async def test_migrating_twice_does_it_once(backend: PostgresBackend, connection: asyncpg.Connection) -> None:
    schema = await fresh(backend, "twice")
    assert [step.version for step in await migrate.apply(connection, schema)] == [1]
    assert await migrate.apply(connection, schema) == []
    storage = await backend.made(schema, auto_migrate=True)
    assert await storage.enqueue(Job("work"))


async def test_two_that_migrate_at_once(backend: PostgresBackend) -> None:
    schema = await fresh(backend, "race")
    connections = [await asyncpg.connect(backend.dsn) for _ in range(6)]
    steps = await asyncio.gather(*(migrate.apply(each, schema) for each in connections))
    assert sorted(len(each) for each in steps) == [0, 0, 0, 0, 0, 1]
    for each in connections:
        await each.close()


@promises("C4")
async def test_a_newer_schema_is_refused(backend: PostgresBackend, connection: asyncpg.Connection) -> None:
    schema = await fresh(backend, "newer")
    await migrate.apply(connection, schema)
    await connection.execute(f"INSERT INTO {schema}.migration (version, name, checksum) VALUES (99, 'later', 'x')")
    for options in ({}, {"auto_migrate": True}):
        with pytest.raises(SchemaMismatchError, match="pip install --upgrade ferroq"):
            await backend.made(schema, **options).open()


@promises("C4")
async def test_another_text_of_a_step_is_refused(backend: PostgresBackend, connection: asyncpg.Connection) -> None:
    schema = await fresh(backend, "text")
    await migrate.apply(connection, schema)
    await connection.execute(f"UPDATE {schema}.migration SET checksum = 'other'")
    with pytest.raises(SchemaMismatchError, match="step 1"):
        await backend.made(schema).open()


async def test_the_script_makes_what_migrate_makes(backend: PostgresBackend, connection: asyncpg.Connection) -> None:
    script, ours = await fresh(backend, "script"), await fresh(backend, "ours")
    await connection.execute(migrate.script(script))
    await migrate.apply(connection, ours)

    async def shape(schema: str) -> list[tuple[str, ...]]:
        rows = await connection.fetch(
            "SELECT table_name || '.' || column_name AS name, data_type AS what FROM information_schema.columns"
            " WHERE table_schema = $1 UNION ALL"
            " SELECT indexname, replace(indexdef, schemaname || '.', '') FROM pg_indexes"
            " WHERE schemaname = $1 ORDER BY 1",
            schema,
        )
        return [tuple(row) for row in rows]

    assert await shape(script) == await shape(ours)
    await migrate.check(connection, script)


async def test_an_interrupted_migration_has_done_nothing(
    backend: PostgresBackend, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = await fresh(backend, "broken")
    [good] = migrate.migrations()
    broken = migrate.Migration(2, "broken", "CREATE TABLE {schema}.half (x int); SELECT 1/0")
    monkeypatch.setattr(migrate, "migrations", lambda: (good, broken))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.apply(connection, schema)
    assert await connection.fetchval("SELECT to_regnamespace($1)", schema) is None
    monkeypatch.undo()
    await migrate.apply(connection, schema)


async def test_migrations_have_no_gap() -> None:
    assert [step.version for step in migrate.migrations()] == list(range(1, len(migrate.migrations()) + 1))
