"""pgqueuer's in-memory adapter, by the calls that its own worker makes: `enqueue`, `dequeue`, `log_jobs`.

It deletes a finished job and appends to a log, which is where an ended life is counted. A job's payload is bytes: the
arguments are encoded by the standard library, as its users do.
"""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from pgqueuer.adapters.inmemory import InMemoryDriver, InMemoryQueries
from pgqueuer.domain.types import QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from benches.contender import BATCH, METHOD, Contender


class Pgqueuer(Contender):
    name = "pgqueuer memory"
    group = "peer"
    distribution = "pgqueuer"
    note = "deletes a finished job and logs it; no token"
    share = 0.2

    def __init__(self, arguments: list[Any]) -> None:
        super().__init__(arguments)
        self.queries = InMemoryQueries(InMemoryDriver())
        self.entrypoints = {QueueEntrypoint(METHOD): EntrypointExecutionParameter(0)}
        self.manager = QueueManagerId(uuid.uuid4())
        self.lease = timedelta(minutes=30)

    async def singles(self, lives: int) -> None:
        arguments, queries = self.arguments, self.queries
        for _ in range(lives):
            await queries.enqueue(METHOD, json.dumps(arguments).encode())
            jobs = await queries.dequeue(1, self.entrypoints, self.manager, None, self.lease)
            await queries.log_jobs([(jobs[0], "successful", None)])

    async def batches(self, lives: int) -> None:
        arguments, queries = self.arguments, self.queries
        methods, priorities = [METHOD] * BATCH, [0] * BATCH
        for _ in range(lives // BATCH):
            await queries.enqueue(methods, [json.dumps(arguments).encode() for _ in range(BATCH)], priorities)
            jobs = await queries.dequeue(BATCH, self.entrypoints, self.manager, None, self.lease)
            await queries.log_jobs([(job, "successful", None) for job in jobs])

    async def finished(self) -> int:
        return sum(entry.status == "successful" for entry in await self.queries.queue_log())
