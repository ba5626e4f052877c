"""`ferroq migrate`."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import pytest

pytestmark = pytest.mark.scope("postgres")

_numbers = itertools.count()


@pytest.fixture
def schema(postgres_dsn: str) -> Iterator[str]:
    name = f"cli_{next(_numbers)}"

    async def drop() -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
        await connection.close()

    asyncio.run(drop())
    yield name
    asyncio.run(drop())


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ferroq", "migrate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_check_apply_check(postgres_dsn: str, schema: str) -> None:
    where = ("--url", postgres_dsn, "--schema", schema)
    assert f"ferroq migrate --schema {schema}" in run(*where, "--check", code=1).stderr
    assert run(*where).stdout == "applied 0001 initial\n"
    assert "up to date" in run(*where).stdout
    assert "up to date" in run(*where, "--check").stdout


def test_the_sql_can_be_run_by_somebody_else(postgres_dsn: str, schema: str) -> None:
    sql = run("--sql", "--schema", schema).stdout

    async def execute() -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute(sql)
        await connection.close()

    asyncio.run(execute())
    run("--url", postgres_dsn, "--schema", schema, "--check")


def test_the_sql_grants_to_a_role() -> None:
    sql = run("--sql", "--role", 'o"dd').stdout
    assert 'GRANT USAGE ON SCHEMA "ferroq" TO "o""dd";' in sql
    assert "-- GRANT" not in sql
    assert "-- GRANT USAGE" in run("--sql").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", "postgresql://ada:s3cret@127.0.0.1:9/x"),
        ("--url", "mysql://ada:s3cret@h/x"),
        ("--url", "postgresql://h/x", "--schema", "No Good"),
        ("--sql", "--schema", "1st"),
    ],
)
def test_it_cannot_run(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, code=2)
    assert done.stderr.startswith("ferroq migrate: ")
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr
