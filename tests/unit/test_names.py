"""What `import ferroq` gives and needs [N1]."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import ferroq
from ferroq.testing.contract import promises

PACKAGE = Path(ferroq.__file__).parent

NAMES = {
    "Job",
    "JobLock",
    "JobState",
    "JobStateKind",
    "Storage",
    "MemoryStorage",
    "ManualClock",
    "StorageInstance",
    "StorageConfig",
    "MemoryConfig",
    "RedisStorage",
    "RedisConfig",
    "PostgresStorage",
    "PostgresConfig",
    "StorageError",
    "StorageWarning",
}


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@promises("N1")
@pytest.mark.parametrize("name", sorted(NAMES))
def test_public_names(name: str) -> None:
    assert getattr(ferroq, name) is not None
    assert name in ferroq.__all__
    assert name in dir(ferroq)


@promises("N1")
def test_all_names_what_is_there() -> None:
    assert sorted(set(ferroq.__all__)) == sorted(ferroq.__all__)
    for name in ferroq.__all__:
        assert hasattr(ferroq, name)
    assert not [name for name in ferroq.__all__ if name.startswith("_") and name != "__version__"]
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ferroq.nonsense


@promises("N1")
def test_import_needs_no_other_package() -> None:
    loaded = python(
        "import sys; before = set(sys.modules); import ferroq; ferroq.MemoryStorage();"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*sorted(roots - set(sys.stdlib_module_names) - {'ferroq'}))"
    )
    assert loaded.split() == []


@promises("N1")
def test_import_loads_no_driver_and_no_server_backend() -> None:
    loaded = set(python("import sys, ferroq; print(*sys.modules)").split())
    assert not loaded & {"redis", "asyncpg", "click", "ferroq.cli", "ferroq.testing"}
    # Configurations alone, for they can be made without a driver.
    servers = {name for name in loaded if name.startswith(("ferroq.redis", "ferroq.postgres"))}
    assert servers == {
        *("ferroq.redis", "ferroq.redis.config", "ferroq.redis.keys"),
        *("ferroq.postgres", "ferroq.postgres.config"),
    }


DRIVERS = {"redis": ("redis", "ferroq[redis]"), "postgres": ("asyncpg", "ferroq[postgres]")}


@promises("N1")
def test_each_backend_is_named_and_says_which_extra_is_missing() -> None:
    for config in typing.get_args(ferroq.StorageConfig) or (ferroq.StorageConfig,):
        storage = config.__name__.replace("Config", "Storage")
        assert {config.__name__, storage} <= set(ferroq.__all__)
        if config.backend == "memory":
            continue
        driver, extra = DRIVERS[config.backend]
        told = python(
            f"""
import asyncio, sys
sys.modules[{driver!r}] = None   # what an import of it then raises is an ImportError
import ferroq

async def use():
    storage = ferroq.{storage}(ferroq.{config.__name__}())
    await storage.get("x")

try:
    asyncio.run(use())
except Exception as error:
    print(type(error).__name__, error)
else:
    print("no error")
"""
        )
        assert extra in told


@promises("N1")
def test_only_the_package_imports_its_native_module() -> None:
    assert importlib.util.find_spec("ferroq._native") is not None
    assert "_native" not in ferroq.__all__


@promises("N1")
def test_backends_do_not_know_each_other() -> None:
    """The interface imports no backend, and no backend imports another one."""

    def imports(path: Path) -> set[str]:
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add(f"{'.' * node.level}{node.module or ''}")
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
        return found

    backends = {"memory", "redis", "postgres"}
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        own = relative.parts[0].removesuffix(".py")
        if own == "testing":
            continue
        if own in {"storage", "errors", "kinds", "config", *backends}:
            forbidden = backends - {own}
            for name in imports(path):
                assert not (set(name.replace("ferroq", "").strip(".").split(".")[:1]) & forbidden), (path, name)
