"""The Redis and Valkey backend; `ferroq[redis]` brings its driver."""

from .config import RedisConfig
from .storage import RedisStorage

__all__ = ["RedisConfig", "RedisStorage"]
