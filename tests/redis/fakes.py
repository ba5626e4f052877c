"""Nodes that say what a test tells them to, for what a real server says only at bad moments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Node:
    """Answers each command by a function of its words; None answers nothing."""

    def __init__(self, answer: Callable[[list[bytes]], bytes | None]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Node:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                self.asked.append(words[0].upper())
                answer = self.answer(words)
                if answer is not None:
                    writer.write(answer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


def mute(words: list[bytes]) -> None:
    """Takes connections and says nothing."""
    del words


def slots_at(port: int) -> bytes:
    """CLUSTER SLOTS of a cluster of one."""
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % port


NIL = b"$-1\r\n"
OK = b"+OK\r\n"
