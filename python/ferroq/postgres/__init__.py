"""The Postgres backend: needs the extra `ferroq[postgres]`, which is asyncpg, as soon as a storage is named [N1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._extras import lazy
from .config import PostgresConfig

if TYPE_CHECKING:
    from .storage import PostgresStorage

__all__ = ["PostgresConfig", "PostgresStorage"]


def __getattr__(name: str) -> Any:
    if name == "PostgresStorage":
        return lazy(__name__, name, "asyncpg")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
