"""The Redis and Valkey backend: needs the extra `ferroq[redis]`, which is redis-py, once a storage is named [N1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._extras import lazy
from .config import RedisConfig

if TYPE_CHECKING:
    from .storage import RedisStorage

__all__ = ["RedisConfig", "RedisStorage"]


def __getattr__(name: str) -> Any:
    if name == "RedisStorage":
        return lazy(__name__, name, "redis")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
