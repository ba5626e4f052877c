"""The self-audit [Q18]: what the indexes say against what the records say, a step at a time."""

from __future__ import annotations

from .client import Client
from .scripts import VERIFY

_STEP = 1000


async def _walk(client: Client, what: str, which: str | bytes, step: int) -> tuple[int, list[str]]:
    """How many members an index has, and what is wrong with them."""
    count, at = 0, 0
    findings: list[str] = []
    while True:
        arguments = (what, which, at)
        there, members, *found = await client.script("verify", VERIFY, arguments, arguments)
        count += members
        findings += [text.decode("utf-8", "replace") for text in found]
        if there != b"1":
            return count, findings
        at += step


async def _queues(client: Client) -> list[bytes]:
    names: list[bytes] = []
    while True:
        arguments = ("queues", "", len(names))
        page = await client.script("verify", VERIFY, arguments, arguments)
        names += page
        if len(page) < _STEP:
            return names


async def audit(client: Client) -> list[str]:
    """One sentence a finding."""
    arguments = ("totals", "", 0)
    records, bodies, locks, *counts = await client.script("verify", VERIFY, arguments, arguments)
    findings: list[str] = []
    marked = 0
    for kind, count in enumerate(counts):
        jobs, found = await _walk(client, "chunk", str(kind), 1)
        findings += found
        marked += jobs
        if jobs != count:
            findings.append(f"{count} jobs of kind {kind} are counted and {jobs} are marked")
        if 1 < kind < 5:
            finished, found = await _walk(client, "finished", str(kind), _STEP // 10)
            findings += found
            if finished != jobs:
                findings.append(f"{jobs} jobs of kind {kind} are marked and {finished} stand in the order of finish")
    if marked != records:
        findings.append(f"{records} records are stored and {marked} are marked")
    if bodies != records:
        findings.append(f"{records} records are stored and {bodies} bodies")
    for queue in await _queues(client):
        _ready, found = await _walk(client, "queue", queue, _STEP)
        findings += found
    _timers, found = await _walk(client, "timers", "", _STEP)
    findings += found
    ends, found = await _walk(client, "ends", "", _STEP)
    findings += found
    if ends != locks:
        findings.append(f"{locks} explicit locks are held and {ends} of them end")
    return findings
