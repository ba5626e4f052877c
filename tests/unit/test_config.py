"""Configurations and factories, as far as they need no server [C1, C2, C5]."""

from __future__ import annotations

import dataclasses
import math
import socket
import typing
from typing import Any

import pytest

import ferroq
from ferroq import MemoryConfig, MemoryStorage, StorageInstance
from ferroq.errors import ConfigurationError, StorageClosedError
from ferroq.testing.contract import promises

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


CONFIGS: tuple[Any, ...] = typing.get_args(ferroq.StorageConfig) or (ferroq.StorageConfig,)
"""The configuration of each backend that the package has."""

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)

DEFAULTS = {
    "lock_timeout": 1800,
    "max_crashes": 3,
    "max_payload_bytes": 1024 * 1024,
    "server_name": socket.gethostname(),
    "keep_succeeded": None,
    "keep_failed": None,
    "keep_deleted": None,
    "strict": False,
}

GOOD: list[tuple[str, list[Any]]] = [
    ("lock_timeout", [0.001, 1, 2.5, 31_536_000]),
    ("max_crashes", [1, 1000]),
    ("max_payload_bytes", [1000, 1024 * 1024]),
    ("server_name", ["x", "é" * 127, "a b"]),
    ("keep_succeeded", [None, 0, 0.5, 86_400]),
    ("keep_failed", [None, 0, 0.5, 86_400]),
    ("keep_deleted", [None, 0, 0.5, 86_400]),
    ("strict", [True, False]),
]

BAD: list[tuple[str, list[Any]]] = [
    ("lock_timeout", [None, 0, -1, 0.0009, 31_536_001, math.nan, math.inf, True, "1", b"1"]),
    ("max_crashes", [None, 0, -1, 1001, 1.0, math.nan, True, "3"]),
    ("max_payload_bytes", [None, 0, -1, 1.5, math.nan, True, "1000"]),
    ("server_name", [None, "", "x" * 256, "a\nb", "\ud800", 5, b"host", True]),
    ("keep_succeeded", [-1, -0.1, math.nan, math.inf, True, "1"]),
    ("keep_failed", [-1, -0.1, math.nan, math.inf, True, "1"]),
    ("keep_deleted", [-1, -0.1, math.nan, math.inf, True, "1"]),
    ("strict", [None, 0, 1, "yes"]),
]


@promises("C1", "N1")
@every_config
def test_common_fields(config: Any) -> None:
    assert getattr(ferroq, config.__name__) is config
    fields = {field.name for field in dataclasses.fields(config)}
    assert set(DEFAULTS) <= fields
    made = config()
    for field, default in DEFAULTS.items():
        assert getattr(made, field) == default
    with pytest.raises(TypeError):
        config(60)
    with pytest.raises(TypeError, match="nonsense"):
        config(nonsense=1)
    for field in fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field, getattr(made, field))
    assert made == config()
    assert hash(made) == hash(config())
    assert dataclasses.replace(made, max_crashes=5).max_crashes == 5


@promises("C1", "E2")
@every_config
@pytest.mark.parametrize(("field", "values"), GOOD, ids=[field for field, _ in GOOD])
def test_possible_values(config: Any, field: str, values: list[Any]) -> None:
    for value in values:
        assert getattr(config(**{field: value}), field) == value


@promises("C1", "E2")
@every_config
@pytest.mark.parametrize(("field", "values"), BAD, ids=[field for field, _ in BAD])
def test_impossible_values(config: Any, field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError, match=field):
            config(**{field: value})


SECRETS = {
    "MemoryConfig": [],
    "RedisConfig": [
        ("url", "redis://user:hunter2@localhost:6379/0"),
        ("url", "redis://:hunter2@localhost"),
    ],
    "PostgresConfig": [
        ("database_url", "postgresql://user:hunter2@localhost/db"),
        ("database_url", "postgresql://localhost/db?user=me&password=hunter2"),
    ],
}


@promises("C1", "E4")
def test_secrets_are_masked() -> None:
    for config in CONFIGS:
        for field, url in SECRETS[config.__name__]:
            made = config(**{field: url})
            for text in (repr(made), str(made), f"{made}"):
                assert "hunter2" not in text
                assert "localhost" in text
            assert getattr(made, field) == url
            with pytest.raises(ConfigurationError) as caught:
                config(**{field: url, "max_crashes": 0})
            assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------- memory


@pytest.mark.scope("memory")
@promises("C2", "E2")
def test_fields_of_memory() -> None:
    config = MemoryConfig()
    assert (config.max_jobs, config.auto_cleanup) == (None, False)
    for good in (1, 10**6):
        assert MemoryConfig(max_jobs=good).max_jobs == good
    for bad in (0, -1, 1.0, math.nan, True, "5", 2**31):
        with pytest.raises(ConfigurationError, match="max_jobs"):
            MemoryConfig(max_jobs=bad)  # type: ignore[arg-type]
    for no_bool in (None, 1, "yes"):
        with pytest.raises(ConfigurationError, match="auto_cleanup"):
            MemoryConfig(auto_cleanup=no_bool)  # type: ignore[arg-type]


@pytest.mark.scope("memory")
@promises("C5", "C1")
async def test_factories_of_memory() -> None:
    plain = StorageInstance.memory()
    configured = StorageInstance.memory(MemoryConfig(max_jobs=5))
    from_config = await StorageInstance.from_config(MemoryConfig(server_name="s"))
    from_url = await StorageInstance.connect("memory://?max_jobs=2&auto_cleanup=true&lock_timeout=2.5&keep_failed=0")
    bare = await StorageInstance.connect("memory://")
    for storage in (plain, configured, from_config, from_url, bare):
        assert isinstance(storage, MemoryStorage)
        await storage.enqueue(ferroq.Job("work", id="x"))
        assert len(storage) == 1, "each is a store of its own"
        async with storage as opened:
            assert opened is storage
        with pytest.raises(StorageClosedError):
            await storage.get("x")


@pytest.mark.scope("memory")
@promises("C5", "C1", "E2")
@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("memory://?max_jbos=5", "max_jbos"),
        ("memory://?max_jobs=0", "max_jobs"),
        ("memory://?max_jobs=many", "max_jobs"),
        ("memory://?max_jobs=1&max_jobs=2", "max_jobs"),
        ("memory://?auto_cleanup=perhaps", "auto_cleanup"),
        ("memory://?lock_timeout=nan", "lock_timeout"),
        ("memory://?lock_timeout=", "lock_timeout"),
        ("memory://?key_prefix=app", "key_prefix"),
        ("memory://host", "memory"),
        ("memory", "URL"),
        ("", "URL"),
        ("mysql://localhost/db", "mysql"),
        ("http://localhost", "http"),
    ],
)
async def test_impossible_urls(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        await StorageInstance.connect(url)


@pytest.mark.scope("memory")
@promises("C5", "E2")
async def test_factories_take_what_they_say() -> None:
    for wrong in (None, 5, b"memory://", MemoryConfig()):
        with pytest.raises((TypeError, ConfigurationError)):
            await StorageInstance.connect(wrong)  # type: ignore[arg-type]
    neither: list[Any] = ["memory://", {}, 5, MemoryConfig]
    for no_config in [None, *neither]:
        with pytest.raises((TypeError, ConfigurationError)):
            await StorageInstance.from_config(no_config)
    for no_config in neither:
        with pytest.raises((TypeError, ConfigurationError)):
            MemoryStorage(no_config)
    with pytest.raises(TypeError):
        MemoryStorage(None, clock="now")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        MemoryStorage(None, object())  # type: ignore[call-arg, arg-type]


@pytest.mark.scope("memory")
@promises("C1")
async def test_a_secret_in_a_broken_url_is_not_repeated() -> None:
    for url in ("mysql://user:hunter2@localhost/db", "memory://user:hunter2@host"):
        with pytest.raises(ConfigurationError) as caught:
            await StorageInstance.connect(url)
        assert "hunter2" not in str(caught.value)
