"""`RedisConfig`, and stores that do not know each other [C3, C6]."""

from __future__ import annotations

from typing import Any

import pytest

from ferroq import Job
from ferroq.errors import ConfigurationError
from ferroq.redis import RedisConfig, RedisStorage
from ferroq.redis.config import Address
from ferroq.testing.contract import promises

from .support import storage_on

pytestmark = pytest.mark.scope("redis")


@promises("C3")
@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address("redis", (("h", 6379),))),
        ("redis://h:1/3", Address("redis", (("h", 1),), database=3)),
        ("rediss://u:p%40@h", Address("rediss", (("h", 6379),), username="u", password="p@")),
        ("redis://[::1]:7", Address("redis", (("::1", 7),))),
        ("unix:///run/r.sock", Address("unix", path="/run/r.sock")),
        (
            "redis+sentinel://:s@a,b:2/main/4",
            Address("redis+sentinel", (("a", 26379), ("b", 2)), service="main", database=4, password="s"),
        ),
        ("redis+cluster://a,b:2", Address("redis+cluster", (("a", 6379), ("b", 2)))),
    ],
)
def test_urls(url: str, address: Address) -> None:
    assert RedisConfig.from_url(url).address == address


@promises("C3", "C1")
def test_options_in_a_url() -> None:
    config = RedisConfig.from_url(
        "redis://h/1?key_prefix=app&pool_size=3&command_timeout=2.5&keep_failed=none&strict=yes"
    )
    assert config == RedisConfig(url="redis://h/1", key_prefix="app", pool_size=3, command_timeout=2.5, strict=True)


@promises("C3", "C1")
@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/x",
        "redis://a,b",
        "redis://h?nonsense=1",
        "redis://h?pool_size=0",
        "redis://h?key_prefix=app*",
        "redis://h?tls=true",
        "redis://h?db=1&db=2",
        "redis://h/1?db=2",
        "redis+cluster://h/3",
        "redis+cluster://h?db=3",
        "redis+sentinel://h",
        "unix://",
        "redis://h?tls_ca_file=x",
        "rediss://h?tls_cert_file=x",
        "redis://h?sentinel_password=x",
        "redis://[::1",
    ],
)
def test_impossible_urls(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RedisConfig.from_url(url)


@promises("C3", "C6")
@pytest.mark.parametrize("prefix", ["app*", "", "a b", "a{b}", "a?", "é", "x" * 65, "app\n"])
def test_forbidden_prefixes(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="key_prefix"):
        RedisConfig(key_prefix=prefix)


@promises("C1", "C3", "E2")
@pytest.mark.parametrize(
    ("field", "value"),
    [("pool_size", True), ("pool_size", 1.5), ("command_timeout", float("nan")), ("url", 3), ("url", "redis://h?a=b")],
)
def test_impossible_values(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        RedisConfig(**{field: value})


@promises("C1", "C3")
def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RedisConfig(url="redis://me:hunter2@h", sentinel_password=None, password="hunter3")
    shown = f"{config!r} {RedisStorage(config)!r}"
    assert "hunter" not in shown
    monkeypatch.setenv("REDIS_URL", "redis://from-the-environment")
    assert RedisConfig().url == "redis://from-the-environment"
    monkeypatch.delenv("REDIS_URL")
    assert RedisConfig().url == "redis://localhost:6379"


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:appendonly is off")
@promises("C6", "L5")
async def test_prefixes_never_see_each_other(redis_url: str) -> None:
    prefixes = ("app", "app2", "app:x", "app:q")
    async with (
        storage_on(redis_url, key_prefix=prefixes[0]) as one,
        storage_on(redis_url, key_prefix=prefixes[1]) as two,
        storage_on(redis_url, key_prefix=prefixes[2]) as three,
        storage_on(redis_url, key_prefix=prefixes[3]) as four,
    ):
        stores = (one, two, three, four)
        for index, storage in enumerate(stores):
            for queue in ("default", "x", "q"):
                await storage.enqueue(Job(f"of-{index}", id=f"job:{queue}", queue=queue))
            assert await storage.try_acquire_job_lock("job:x", f"w{index}", 60)
        for index, storage in enumerate(stores):
            assert {job.method for job in await storage.list()} == {f"of-{index}"}
            assert sum((await storage.get_job_counts()).values()) == 3
            jobs = await storage.fetch_available_jobs_atomic("w", 10)
            assert {(job.method, job.id) for job in jobs} == {(f"of-{index}", "job:default"), (f"of-{index}", "job:q")}
            assert await storage.verify() == []
        for storage in stores:
            for queue in ("default", "x", "q"):
                assert await storage.delete(f"job:{queue}")
            assert await storage.verify() == []
