"""PostgresConfig [C4, C1, C5]."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from ferroq import StorageInstance
from ferroq.errors import ConfigurationError
from ferroq.postgres import PostgresConfig, PostgresStorage
from ferroq.testing.contract import promises

pytestmark = pytest.mark.scope("postgres")

URL = "postgresql://ada:s3cret@db.example/jobs"


@promises("C4")
def test_a_url_spells_every_option() -> None:
    config = PostgresConfig.from_url(
        URL + "?schema_name=mail&min_connections=2&max_connections=5&connect_timeout=1.5&command_timeout=3"
        "&auto_migrate=true&sslmode=verify-full&sslrootcert=/ca.pem&statement_cache_size=0&listen=no&lock_timeout=60"
    )
    assert config.database_url == URL
    assert (config.schema_name, config.min_connections, config.max_connections) == ("mail", 2, 5)
    assert (config.connect_timeout, config.command_timeout, config.auto_migrate) == (1.5, 3.0, True)
    assert (config.sslmode, config.sslrootcert, config.statement_cache_size) == ("verify-full", "/ca.pem", 0)
    assert (config.listen, config.lock_timeout) == (False, 60.0)
    assert "sslmode=verify-full" in config.dsn()
    assert "sslrootcert=%2Fca.pem" in config.dsn()


@promises("C4")
def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    assert PostgresConfig().address() == URL
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        PostgresConfig().address()
    monkeypatch.setenv("DATABASE_URL", "mysql://x/y")
    with pytest.raises(ConfigurationError, match="postgresql"):
        PostgresConfig().address()


@promises("C4", "C1")
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"schema_name": "1st"}, "schema_name"),
        ({"schema_name": "Jobs"}, "schema_name"),
        ({"schema_name": 'x"; DROP SCHEMA y'}, "schema_name"),
        ({"schema_name": "x" * 49}, "schema_name"),
        ({"schema_name": ""}, "schema_name"),
        ({"schema_name": "pg_jobs"}, "schema_name"),
        ({"min_connections": 11, "max_connections": 10}, "min_connections"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_connections": True}, "max_connections"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"command_timeout": float("nan")}, "command_timeout"),
        ({"statement_cache_size": -1}, "statement_cache_size"),
        ({"sslmode": "maybe"}, "sslmode"),
        ({"database_url": "redis://h"}, "database_url"),
        ({"database_url": "postgresql://h:99999/x"}, "database_url"),
        ({"database_url": "postgresql://h/x?target=1"}, "target"),
        ({"pool": object()}, "pool"),
        ({"listen": 1}, "listen"),
    ],
)
def test_impossible_values_are_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        PostgresConfig(**fields)


@promises("C4")
@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgres://ada:p%40ss@h/jobs", "postgresql://ada:p%40ss@h/jobs"),
        ("postgresql:///jobs?host=/run/pg", "postgresql:///jobs?host=%2Frun%2Fpg"),
        ("postgresql://ada@/jobs?host=/run/pg&port=5433", "postgresql://ada@/jobs?host=%2Frun%2Fpg&port=5433"),
        ("postgresql://%2Frun%2Fpg/jobs", "postgresql://%2Frun%2Fpg/jobs"),
        ("postgresql://ada@[::1]:5433/jobs", "postgresql://ada@[::1]:5433/jobs"),
        (
            "postgresql://h1:5432,h2:5433/jobs?target_session_attrs=read-write",
            "postgresql://h1:5432,h2:5433/jobs?target_session_attrs=read-write",
        ),
        ("postgresql:///jobs", "postgresql:///jobs"),
    ],
)
def test_addresses_as_libpq_spells_them(monkeypatch: pytest.MonkeyPatch, url: str, dsn: str) -> None:
    assert PostgresConfig(database_url=url).dsn() == dsn
    assert PostgresConfig.from_url(url).dsn() == dsn
    ours = PostgresConfig.from_url(url + ("&" if "?" in url else "?") + "schema_name=mail&sslmode=disable")
    assert (ours.schema_name, ours.sslmode) == ("mail", "disable")
    assert ours.dsn() == dsn + ("&" if "?" in dsn else "?") + "sslmode=disable"
    monkeypatch.setenv("DATABASE_URL", url)
    assert PostgresConfig().dsn() == dsn


@pytest.mark.anyio
@promises("C4", "C5")
async def test_a_socket_is_reached_by_its_folder(postgres_dsn: str, connection: asyncpg.Connection) -> None:
    parts = urlsplit(postgres_dsn)
    folder = (await connection.fetchval("SHOW unix_socket_directories")).split(",")[0].strip()
    user, database, options = parts.username, parts.path, "schema_name=socket&auto_migrate=true"
    for url in (
        f"postgresql://{user}@{database}?host={folder}&port={parts.port}&{options}",
        f"postgres://{user}@{quote(folder, safe='')}:{parts.port}{database}?{options}",
    ):
        async with await StorageInstance.connect(url) as storage:
            assert await storage.get("none") is None
    await connection.execute("DROP SCHEMA socket CASCADE")


@promises("C4")
def test_48_characters_are_a_schema() -> None:
    assert PostgresConfig(schema_name="_" + "x" * 47).schema_name.endswith("x")


@promises("C1")
def test_secrets_are_masked() -> None:
    config = PostgresConfig(database_url=URL, password="other-s3cret", listen_url=URL)
    assert "s3cret" not in repr(config)
    assert set(config.secrets()) >= {"s3cret", "other-s3cret"}


@promises("C1")
def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pool_size"):
        PostgresConfig.from_url(URL + "?pool_size=3")


@pytest.mark.anyio
@promises("C4", "E4")
async def test_tls_files_are_read_at_connect() -> None:
    storage = PostgresStorage(PostgresConfig(database_url=URL, sslmode="verify-full", sslrootcert="/nowhere.pem"))
    with pytest.raises(ConfigurationError, match="sslrootcert"):
        await storage.open()


@pytest.mark.anyio
@promises("C4", "E5")
async def test_nobody_listens_there() -> None:
    from ferroq.errors import StorageConnectionError

    config = PostgresConfig(database_url="postgresql://ada:s3cret@127.0.0.1:9/jobs", connect_timeout=2)
    with pytest.raises(StorageConnectionError) as caught:
        await PostgresStorage(config).open()
    assert "s3cret" not in str(caught.value)
    assert (caught.value.retryable, caught.value.outcome) == (True, "not_applied")
