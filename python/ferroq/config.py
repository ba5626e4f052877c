"""Configurations: frozen, keyword-only, checked when they are made [C1].

A backend's configuration is a dataclass on top of `CommonConfig`. Each field is declared with `option`, which says once
what the field takes; the check at construction, the reading of a URL's query and the masking of secrets follow::

    @dataclass(frozen=True, kw_only=True, slots=True, repr=False)
    class MemoryConfig(CommonConfig):
        backend: ClassVar[str] = "memory"
        max_jobs: int | None = option(Optional(Integer(1, 2**31 - 1)), default=None)

Nothing here imports a driver.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from urllib.parse import SplitResult

from ._options import (
    MASK,
    Boolean,
    Integer,
    Kind,
    Name,
    Number,
    Optional,
    Rejected,
    mask_url,
    option,
    options_of,
    read_query,
    split_url,
)
from .errors import ConfigurationError

_YEAR = 31_536_000
# A record holds a payload and a result of this size each, and a Redis string ends at 512 MiB.
_LARGEST_PAYLOAD = 256 * 1024 * 1024
_KEEP: Kind = Optional(Number(0, 100 * _YEAR))


def _host_name() -> str:
    """The machine's name, or "localhost" where it has none that a job could carry."""
    name = socket.gethostname()
    try:
        Name().check(name)
    except Rejected:
        return "localhost"
    return name


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class CommonConfig(ABC):
    """The fields that every backend has.

    Attributes:
        lock_timeout: seconds that a claim lasts unless the call says otherwise; a worker that renews its claims should
            ask for far less.
        max_crashes: how many lapses of its claim make a job failed, over its life.
        max_payload_bytes: the most that arguments and metadata, or a result, may take as UTF-8 JSON text.
        server_name: what claims write into a job's state beside the worker's id.
        keep_succeeded, keep_failed, keep_deleted: seconds that a finished job stays; None for ever, 0 not at all.
        strict: a `StorageWarning` at connect becomes a `ConfigurationError`.

    Raises:
        ConfigurationError: a field of the wrong type or out of range; the text begins with the field's name.
    """

    backend: ClassVar[str]

    lock_timeout: float = option(Number(0.001, _YEAR), default=1800)
    max_crashes: int = option(Integer(1, 1000), default=3)
    max_payload_bytes: int = option(Integer(1, _LARGEST_PAYLOAD), default=1024 * 1024)
    server_name: str = option(Name(), default_factory=_host_name)
    keep_succeeded: float | None = option(_KEEP, default=None)
    keep_failed: float | None = option(_KEEP, default=None)
    keep_deleted: float | None = option(_KEEP, default=None)
    strict: bool = option(Boolean(), default=False)

    def __post_init__(self) -> None:
        for name, one in options_of(self).items():
            try:
                one.kind.check(getattr(self, name))
            except Rejected as error:
                raise self._error(f"{name} {error}") from None

    @classmethod
    def _error(cls, text: str) -> ConfigurationError:
        return ConfigurationError(text, backend=cls.backend)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The configuration that a URL spells: options as query parameters, the rest by the backend's own rules.

        Raises:
            ConfigurationError: unknown, repeated or impossible options; the known ones are listed.
        """
        try:
            parts = split_url(url)
            values = read_query(parts.query, options_of(cls))
            for name, value in cls._from_address(parts).items():
                if name in values:
                    raise Rejected(f"{name} is given twice in the URL, in its address and as an option")
                values[name] = value
        except Rejected as error:
            raise cls._error(str(error)) from None
        return cls(**values)

    @classmethod
    @abstractmethod
    def _from_address(cls, parts: SplitResult) -> dict[str, Any]:
        """The fields that the part of a URL before its query gives; `Rejected` for what it cannot mean."""

    def __repr__(self) -> str:
        shown = []
        for name, one in options_of(self).items():
            value = getattr(self, name)
            if one.secret and value is not None:
                shown.append(f"{name}='{MASK}'")
            elif isinstance(value, str) and "://" in value:
                shown.append(f"{name}={mask_url(value)!r}")
            else:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class MemoryConfig(CommonConfig):
    """The configuration of a `MemoryStorage` [C2]; as a URL: `memory://?max_jobs=100&auto_cleanup=true`.

    Attributes:
        max_jobs: how many jobs fit; one more is `CapacityExceededError`. None is no limit.
        auto_cleanup: at the limit the longest finished jobs make room; live ones never do.
    """

    backend: ClassVar[str] = "memory"

    max_jobs: int | None = option(Optional(Integer(1, 2**31 - 1)), default=None)
    auto_cleanup: bool = option(Boolean(), default=False)

    @classmethod
    def _from_address(cls, parts: SplitResult) -> dict[str, Any]:
        if parts.netloc or parts.path:
            raise Rejected("a memory:// URL has options only: no host, no path")
        return {}
