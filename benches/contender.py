"""What the benches compare: stores that each lead the same jobs through the same life."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from typing import Any, ClassVar

METHOD = "send_email"
SMALL: list[Any] = ["user@example.org", 42]
HUNDRED: list[Any] = [
    "user@example.org",
    42,
    {"template": "welcome", "lang": "en", "tries": 3, "tags": ["a", "b"], "vip": True},
]
WORKER = "worker-1"
BATCH = 100


class Contender(ABC):
    """One store under test. A fresh object is made for every sample and dropped after it.

    The full life of a job is: constructed, enqueued, fetched and locked, set succeeded, stored as such. A contender
    that has no such step is measured without it, which favours it; `note` says so.
    """

    name: ClassVar[str]
    group: ClassVar[str]  # "ours" | "twin" | "yardstick" | "peer" | "floor"
    distribution: ClassVar[str | None] = None
    note: ClassVar[str] = ""
    share: ClassVar[float] = 1.0  # of the lives that the others lead, for contenders that are slow in proportion

    def __init__(self, arguments: list[Any]) -> None:
        self.arguments = arguments

    @abstractmethod
    async def singles(self, lives: int) -> None:
        """Leads `lives` jobs through their life, one after another."""

    @abstractmethod
    async def batches(self, lives: int) -> None:
        """The same in batches of `BATCH`."""

    @abstractmethod
    async def finished(self) -> int:
        """How many jobs the store knows to have ended well; checked after every sample."""

    @classmethod
    def version(cls) -> str | None:
        return version(cls.distribution) if cls.distribution else None
