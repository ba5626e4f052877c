"""From a configuration or a URL to an open storage [C5].

The table below is the one place that knows which backends exist. A backend's module is imported when it is first asked
for, so that its driver need not be installed for the others to work [N1].
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from .config import CommonConfig, MemoryConfig
from .errors import ConfigurationError
from .storage import Storage

if TYPE_CHECKING:
    from .memory import MemoryStorage

StorageConfig: TypeAlias = MemoryConfig
"""The configuration of any backend."""


@dataclass(frozen=True, slots=True)
class _Backend:
    schemes: tuple[str, ...]
    config: type[CommonConfig]
    module: str
    storage: str

    def make(self, config: CommonConfig) -> Storage:
        """The unopened storage."""
        storage: type[Any] = getattr(import_module(self.module, __package__), self.storage)
        made: Storage = storage(config)
        return made


_BACKENDS = (_Backend(("memory",), MemoryConfig, ".memory", "MemoryStorage"),)


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


class StorageInstance:
    """Factories of storages that are connected when they are returned. Close them, or use them by `async with`."""

    __slots__ = ()

    @staticmethod
    def memory(config: MemoryConfig | None = None) -> MemoryStorage:
        """A store in this process. Nothing has to be connected, so this one is not awaited."""
        from .memory import MemoryStorage

        return MemoryStorage(config)

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
