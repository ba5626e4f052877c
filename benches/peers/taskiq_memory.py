"""taskiq's InMemoryBroker: `kiq` builds the message, and the receiver parses it, runs the task and keeps its result.

There is no step between enqueue and run, so nothing is fetched or locked. One at a time the broker awaits the task in
place (`await_inplace=True`, its leanest mode); in a batch it starts a task each and the bench waits for all.
Parameters are not cast, and every result is kept, as by the others.
"""

from __future__ import annotations

import logging
from typing import Any

from taskiq import InMemoryBroker
from taskiq.brokers.inmemory_broker import InmemoryResultBackend

from benches.contender import BATCH, METHOD, Contender

logging.getLogger("taskiq").setLevel(logging.ERROR)  # it logs each execution at INFO


class Taskiq(Contender):
    name = "taskiq memory"
    group = "peer"
    distribution = "taskiq"
    note = "no fetch and no lock: enqueue runs the task"
    share = 0.5

    def _broker(self, in_place: bool) -> Any:
        broker = InMemoryBroker(await_inplace=in_place, max_stored_results=-1, cast_types=False, max_async_tasks=BATCH)
        self.results: InmemoryResultBackend[Any] = broker.result_backend
        return broker

    async def singles(self, lives: int) -> None:
        broker, arguments = self._broker(in_place=True), self.arguments
        task = broker.register_task(_handler, task_name=METHOD)
        await broker.startup()
        for _ in range(lives):
            await task.kiq(*arguments)
        await broker.shutdown()

    async def batches(self, lives: int) -> None:
        broker, arguments = self._broker(in_place=False), self.arguments
        task = broker.register_task(_handler, task_name=METHOD)
        await broker.startup()
        for _ in range(lives // BATCH):
            for _ in range(BATCH):
                await task.kiq(*arguments)
            await broker.wait_all()
        await broker.shutdown()

    async def finished(self) -> int:
        return sum(not result.is_err for result in self.results.results.values())


async def _handler(*arguments: Any) -> bool:
    return True
