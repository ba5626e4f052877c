"""Where the server remembers the last answer of a request, in case that answer is lost."""

from __future__ import annotations

import math
import os

from .config import RedisConfig


class Slots:
    """Names of places on the server, each for one answer.

    A client has as many as it ever had requests at once, and each holds one answer: what the server keeps does not grow
    with the number of requests. A request that was cancelled, or sent twice, leaves its name behind: one sending
    of it may be under way still. What the server keeps under that name runs out by itself.
    """

    __slots__ = ("_asked", "_free", "_made", "_name", "keep")

    def __init__(self, config: RedisConfig) -> None:
        self._name = os.urandom(8).hex()
        self._free: list[str] = []
        self._made = 0
        self._asked = 0
        # A re-send comes before `command_timeout` is up, on a connection that takes `connection_timeout` at the most.
        self.keep = math.ceil(2000 * (config.command_timeout + config.connection_timeout)) + 1000

    def take(self) -> str:
        if self._free:
            return self._free.pop()
        self._made += 1
        return f"{self._name}:{self._made}"

    def request(self) -> bytes:
        """A name for a request, unlike any other of this client's, and so of its places."""
        self._asked += 1
        return self._asked.to_bytes(8, "big")

    def give(self, slot: str) -> None:
        """Back, once its request is answered; else not: that request may still be run, and would write there."""
        self._free.append(slot)
