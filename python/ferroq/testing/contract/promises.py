"""The promises of the contract, where each has to be proved, and the mark by which a test names those that it proves.

A *scope* is where a test ran: "unit" (no store at all), or the name of a backend. Each id below lists the scopes that
owe a passing test; `report.py` holds the run against it. A scope that is left out has its reason beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest

UNIT: Final = "unit"
MEMORY: Final = "memory"
REDIS: Final = "redis"
POSTGRES: Final = "postgres"

SCOPES: Final = (UNIT, MEMORY, REDIS, POSTGRES)
STORES: Final = (MEMORY, REDIS, POSTGRES)
SERVERS: Final = (REDIS, POSTGRES)
EVERYWHERE: Final = SCOPES


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: its id, what it is about, the scopes that owe a test, and why not the others."""

    id: str
    about: str
    scopes: tuple[str, ...]
    reason: str = ""


_UNIT_ONLY: Final = "a property of the class, which all backends share"
_NO_RECORDS: Final = "its records are objects: there are no bytes to damage"

PROMISES: Final[dict[str, Promise]] = {
    promise.id: promise
    for promise in (
        Promise("N1", "names, imports, missing extras", (UNIT,), "nothing of it reaches a store"),
        # ---- Job
        Promise("J1", "id: a name, byte for byte", EVERYWHERE),
        Promise("J2", "method: a name", EVERYWHERE),
        Promise("J3", "arguments: type for type", EVERYWHERE),
        Promise("J4", "created_at", EVERYWHERE),
        Promise("J5", "state changes through set_state only", (UNIT,), _UNIT_ONLY),
        Promise("J6", "assignable fields", EVERYWHERE),
        Promise("J7", "metadata", EVERYWHERE),
        Promise("J8", "attempt, crash_count, retry_count", EVERYWHERE),
        Promise("J9", "version", EVERYWHERE),
        Promise("J10", "sequence", EVERYWHERE),
        Promise("J11", "lock", EVERYWHERE),
        Promise("J12", "set_state, add_metadata, JSON, clone_with_new_id", (UNIT,), _UNIT_ONLY),
        Promise("J13", "equality, repr, copy, pickle", EVERYWHERE),
        Promise("J14", "sizes", STORES),
        Promise("J15", "a job belongs to its caller", EVERYWHERE),
        # ---- JobState
        Promise("S1", "seven variants and their builders", EVERYWHERE),
        Promise("S2", "kinds", (UNIT,), _UNIT_ONLY),
        Promise("S3", "texts cut to 64 KiB; names", (UNIT,), _UNIT_ONLY),
        Promise("S4", "transitions", EVERYWHERE),
        # ---- Storage
        Promise("Q1", "enqueue", STORES),
        Promise("Q2", "get", STORES),
        Promise("Q3", "update", STORES),
        Promise("Q4", "delete", STORES),
        Promise("Q5", "list", STORES),
        Promise("Q6", "get_job_counts", STORES),
        Promise("Q7", "get_available_jobs", STORES),
        Promise("Q8", "fetch_and_lock_job", STORES),
        Promise("Q9", "try_acquire_job_lock", STORES),
        Promise("Q10", "release_job_lock", STORES),
        Promise("Q11", "fetch_available_jobs_atomic", STORES),
        Promise("Q12", "enqueue_many", STORES),
        Promise("Q13", "update_many", STORES),
        Promise("Q14", "extend_job_locks", STORES),
        Promise("Q15", "release_jobs", STORES),
        Promise("Q16", "wait_for_jobs", STORES),
        Promise("Q17", "purge", STORES),
        Promise("Q18", "verify", STORES),
        Promise("Q19", "clone", STORES),
        Promise("Q20", "close", STORES),
        Promise("Q21", "limits and pages", STORES),
        Promise("Q22", "queues", STORES),
        Promise("Q23", "availability", STORES),
        Promise("Q24", "claim order", STORES),
        Promise("Q25", "concurrent claimers", STORES),
        Promise("Q26", "large waves", STORES),
        Promise("Q27", "a claim that starts at the last claimed key", (POSTGRES,), "only Postgres takes that liberty"),
        Promise("Q28", "the backend's clock", STORES),
        # ---- locks
        Promise("L1", "claim locks", STORES),
        Promise("L2", "tokens", STORES),
        Promise("L3", "the order of update", STORES),
        Promise("L4", "lapses and max_crashes", STORES),
        Promise("L5", "explicit locks", STORES),
        Promise("L6", "release_job_lock", STORES),
        Promise("L7", "cancellation", STORES),
        # ---- errors
        Promise("E1", "threads, loops, forks", STORES),
        Promise("E2", "bad input", EVERYWHERE),
        Promise("E3", "records that cannot be decoded", SERVERS, f"memory: {_NO_RECORDS}"),
        Promise("E4", "what an error carries", EVERYWHERE),
        Promise("E5", "errors mapped from the server's codes", SERVERS, "no server, no codes"),
        # ---- set-up
        Promise("C1", "configs; keep_*", EVERYWHERE),
        Promise("C2", "MemoryConfig", (MEMORY,), "a config of memory"),
        Promise("C3", "RedisConfig", (REDIS,), "a config of Redis"),
        Promise("C4", "PostgresConfig", (POSTGRES,), "a config of Postgres"),
        Promise("C5", "constructors and factories", STORES),
        Promise("C6", "two stores never see each other", STORES),
        # ---- the test double
        Promise("T1", "MemoryStorage, ManualClock, len, clear", (MEMORY,), "about the test double"),
        Promise("T2", "the *_nowait twins", (MEMORY,), "about the test double"),
        Promise("T3", "the pytest plugin", (UNIT,), "about the test double"),
        Promise("T4", "the contract suite itself", (UNIT,), "about the suite"),
    )
}


def promises(*ids: str) -> pytest.MarkDecorator:
    """Marks a test with the ids of the promises that it proves; an id that does not exist fails at import."""
    unknown = [id_ for id_ in ids if id_ not in PROMISES]
    if unknown or not ids:
        raise LookupError(f"no such promise: {unknown or 'none given'}")
    return pytest.mark.promises(*ids)


def owed(scope: str) -> frozenset[str]:
    """The ids that a scope has to prove; a backend from elsewhere owes what all three of ours owe."""
    if scope in SCOPES:
        return frozenset(id_ for id_, promise in PROMISES.items() if scope in promise.scopes)
    return frozenset(id_ for id_, promise in PROMISES.items() if set(STORES) <= set(promise.scopes))
