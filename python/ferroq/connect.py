"""From a configuration or a URL to an open storage [C5].

The table below is the one place that knows which backends exist. A backend's module is imported when it is first asked
for, so that its driver need not be installed for the others to work [N1].
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .config import CommonConfig, MemoryConfig
from .errors import ConfigurationError
from .postgres.config import SCHEMES as POSTGRES_SCHEMES
from .postgres.config import PostgresConfig
from .redis.config import SCHEMES as REDIS_SCHEMES
from .redis.config import RedisConfig
from .storage import Storage

if TYPE_CHECKING:
    from .memory import MemoryStorage
    from .postgres import PostgresStorage
    from .redis import RedisStorage

StorageConfig: TypeAlias = MemoryConfig | RedisConfig | PostgresConfig
"""The configuration of any backend."""


@dataclass(frozen=True, slots=True)
class _Backend:
    schemes: tuple[str, ...]
    config: type[CommonConfig]
    module: str
    storage: str

    def make(self, config: CommonConfig) -> Storage:
        """The unopened storage."""
        try:
            storage: type[Any] = getattr(import_module(self.module, __package__), self.storage)
        except ModuleNotFoundError as error:  # the driver, whose extra the text names
            raise ConfigurationError(str(error), backend=config.backend, operation="connect") from error
        made: Storage = storage(config)
        return made


_BACKENDS = (
    _Backend(("memory",), MemoryConfig, ".memory", "MemoryStorage"),
    _Backend(REDIS_SCHEMES, RedisConfig, ".redis", "RedisStorage"),
    _Backend(POSTGRES_SCHEMES, PostgresConfig, ".postgres", "PostgresStorage"),
)


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for backend in _BACKENDS for scheme in backend.schemes)


async def _opened(backend: _Backend, config: CommonConfig) -> Storage:
    storage = backend.make(config)
    try:
        await storage.open()
    except BaseException:
        await storage.close()
        raise
    return storage


async def _of_kind(kind: type[RedisConfig | PostgresConfig], config: object) -> Storage:
    if config is None:
        config = kind()
    elif not isinstance(config, kind):
        raise TypeError(f"config must be a {kind.__name__}, not {type(config).__name__}")
    return await StorageInstance.from_config(config)


class StorageInstance:
    """Factories of storages that are connected when they are returned. Close them, or use them by `async with`."""

    __slots__ = ()

    @staticmethod
    def memory(config: MemoryConfig | None = None) -> MemoryStorage:
        """A store in this process. Nothing has to be connected, so this one is not awaited."""
        from .memory import MemoryStorage

        return MemoryStorage(config)

    @staticmethod
    async def redis(config: RedisConfig | None = None) -> RedisStorage:
        """A store on Redis or Valkey, connected; None is `RedisConfig()`, the server that `REDIS_URL` names.

        Raises:
            ConfigurationError: the set-up cannot work, or the extra `ferroq[redis]` is not installed.
            StorageConnectionError, StorageTimeoutError, AuthenticationError: the server cannot be reached, or refuses.
        """
        return cast("RedisStorage", await _of_kind(RedisConfig, config))

    @staticmethod
    async def postgres(config: PostgresConfig | None = None) -> PostgresStorage:
        """A store on PostgreSQL, connected; None is `PostgresConfig()`, the database that `DATABASE_URL` names.

        Raises:
            ConfigurationError: the set-up cannot work, or the extra `ferroq[postgres]` is not installed.
            SchemaMismatchError: the tables are missing, older or newer; the text has the command that mends it.
            StorageConnectionError, StorageTimeoutError, AuthenticationError: the server cannot be reached, or refuses.
        """
        return cast("PostgresStorage", await _of_kind(PostgresConfig, config))

    @staticmethod
    async def from_config(config: StorageConfig) -> Storage:
        """The storage of that configuration.

        Raises:
            ConfigurationError: the set-up cannot work.
            StorageConnectionError, StorageTimeoutError, AuthenticationError: the server cannot be reached, or refuses.
        """
        for backend in _BACKENDS:
            if isinstance(config, backend.config):
                return await _opened(backend, config)
        raise TypeError(f"config must be a StorageConfig, not {type(config).__name__}")

    @staticmethod
    async def connect(url: str) -> Storage:
        """The storage that a URL names, options as query parameters: `memory://?max_jobs=100&auto_cleanup=true`.

        Raises:
            ConfigurationError: no backend has that scheme (the text names those there are), or an option is wrong.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, not {type(url).__name__}")
        scheme, separator, _ = url.partition("://")
        for backend in _BACKENDS:
            if separator and scheme.lower() in backend.schemes:
                return await _opened(backend, backend.config.from_url(url))
        # What stands before :// in a broken URL could be part of a password: only a scheme's characters are repeated.
        known = scheme if separator and scheme.replace("+", "").replace(".", "").replace("-", "").isalnum() else None
        what = f"no backend for {known}://" if known and len(known) <= 32 else "the URL has no scheme"
        raise ConfigurationError(f"{what}; there is {_schemes()}", operation="connect")
