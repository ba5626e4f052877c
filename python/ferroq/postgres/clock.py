"""The backend's clock, as far as a client may know it: the offset by which tests move it, and an estimate."""

from __future__ import annotations

import time

from .queries import MAX_TIME


class Clock:
    """What every statement is told as its first parameter; shared by the clones of a storage."""

    def __init__(self) -> None:
        self.offset = 0
        """Microseconds added to the server's clock; 0 outside tests."""

    def now(self) -> int:
        """This machine's reading: good for when to look, never for what is stored."""
        return time.time_ns() // 1000 + self.offset

    def given_back(self, now: int, delay: int | None) -> tuple[str, int | None]:
        """The state of a job that is given back at that instant, and its due time where that is a new one."""
        if delay is None:
            return f'{{"enqueued_at":{now}}}', None
        due = min(now + delay, MAX_TIME)
        return f'{{"scheduled_at":{now},"enqueue_at":{due},"reason":"released"}}', due
