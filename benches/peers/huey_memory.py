"""huey's MemoryStorage behind its public API.

Its task is pickled into a heap and, when done, its result into a dict under the task's id. There is no bulk call, no
lock and no record of the task itself: a batch is a loop. The handler is not run, as nobody's is here: the consumer's
two public calls (`dequeue`, `put_result`) are made directly, which leaves out the logging and the signals of
`execute`.
"""

from __future__ import annotations

from typing import Any

from huey import MemoryHuey

from benches.contender import BATCH, METHOD, Contender


class Huey(Contender):
    name = "huey memory"
    group = "peer"
    distribution = "huey"
    note = "no lock, no lapse, no bulk calls; the handler and its logging are left out"

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.huey = MemoryHuey("bench")
        self.task = self.huey.task(name=METHOD)(lambda *arguments: True)

    async def singles(self, lives: int) -> None:
        arguments, huey, construct = self.arguments, self.huey, self.task.s
        for _ in range(lives):
            huey.enqueue(construct(*arguments))
            task = huey.dequeue()
            huey.put_result(task.id, True)

    async def batches(self, lives: int) -> None:
        arguments, huey, construct = self.arguments, self.huey, self.task.s
        for _ in range(lives // BATCH):
            for task in [construct(*arguments) for _ in range(BATCH)]:
                huey.enqueue(task)
            for task in [huey.dequeue() for _ in range(BATCH)]:
                huey.put_result(task.id, True)

    async def finished(self) -> int:
        return int(self.huey.result_count())
