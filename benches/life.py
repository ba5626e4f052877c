"""The full life of a job, ours against the yardstick, the peers and the floors: `python -m benches.life`.

A life is: construct, enqueue, fetch and lock, set succeeded, update. One at a time, and in batches of 100
(`enqueue_many`, one claim of 100, `set_state` each, `update_many`). Every round runs every contender, in an order
that rotates; ratios are taken within a round; the table shows their median and their worst. Times are processor time,
which is wall time for these contenders (one thread, no I/O) as long as a core is free, and stays comparable when none
is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from .contender import BATCH, HUNDRED, SMALL, Contender
from .measure import clean_heap, local_result, machine, machine_line, ratios, spread, watched, write_json

MODES = {"singles": "one at a time", "batches": f"in batches of {BATCH}"}
# The least that ours must be faster, by the median; a smoke run asks for half of it, since CI machines are noisy.
GOALS = {"singles": {"yardstick": 2.5, "fastest": 6.0}, "batches": {"yardstick": 3.0, "fastest": 10.0}}
FASTEST_PEER = "the fastest peer"

Samples = dict[str, dict[str, list[float]]]  # mode, contender: µs a life, round by round


def contenders(peers: bool) -> list[type[Contender]]:
    from .ours import Memory, Nowait, Pure
    from .peers.floors import Awaits, DictAndHeap, Simple

    found: list[type[Contender]] = [Memory, Nowait, Pure]
    if peers:
        from .peers.huey_memory import Huey
        from .peers.pgqueuer_memory import Pgqueuer
        from .peers.taskiq_memory import Taskiq

        found += [Huey, Pgqueuer, Taskiq]
    return [*found, DictAndHeap, Simple, Awaits]


def sample(contender: type[Contender], mode: str, lives: int, arguments: list[Any]) -> float:
    """Processor µs a life of one contender, on a store of its own; fails if a life did not end well."""
    lives = max(BATCH, int(lives * contender.share) // BATCH * BATCH)

    async def run() -> float:
        store = contender(arguments)
        await getattr(store, mode)(BATCH)  # first calls pay for imports, specialised bytecode, first allocations
        with clean_heap():
            start = process_time()
            await getattr(store, mode)(lives)
            taken = process_time() - start
        if (ended := await store.finished()) not in (lives, lives + BATCH):
            raise RuntimeError(f"{contender.name}: {ended} of {lives} lives ended well")
        return taken / lives * 1e6

    return asyncio.run(run())


def measure(
    field: Sequence[type[Contender]], rounds: int, lives: int, arguments: list[Any], patience: int
) -> tuple[Samples, list[float | None], int]:
    """Samples by round; what others used of the machine in each; how many loud rounds were thrown away."""
    samples: Samples = {mode: {c.name: [] for c in field} for mode in MODES}
    loads: list[float | None] = []
    repeated = 0
    while len(loads) < rounds:
        turn = len(loads) % len(field)
        order = [*field[turn:], *field[:turn]]
        with watched() as load:
            taken = {(mode, c.name): sample(c, mode, lives, arguments) for mode in MODES for c in order}
        if not load.quiet and repeated < patience:
            repeated += 1
            print(f"a round beside {load.others} cores of other load is repeated", file=sys.stderr)
            continue
        loads.append(load.others)
        for (mode, name), micros in taken.items():
            samples[mode][name].append(micros)
    return samples, loads, repeated


def compare(samples: Samples, field: Sequence[type[Contender]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Per mode and contender: µs a life, and how many times faster ours is."""
    ours = next(c.name for c in field if c.group == "ours")
    peers = [c.name for c in field if c.group == "peer"]
    report: dict[str, dict[str, dict[str, Any]]] = {}
    for mode, by_name in samples.items():
        rows: dict[str, dict[str, Any]] = {}
        columns = {c.name: (c.group, by_name[c.name]) for c in field}
        if peers:
            fastest = [min(micros) for micros in zip(*(by_name[name] for name in peers), strict=True)]
            columns[FASTEST_PEER] = ("fastest", fastest)
        for name, (group, values) in columns.items():
            middle, worst = spread(ratios(values, by_name[ours]))
            rows[name] = {"group": group, "micros": median(values), "ratio": middle, "worst": worst}
        report[mode] = rows
    return report


def verdicts(report: dict[str, dict[str, dict[str, Any]]], part: float) -> list[str]:
    """What falls short of `part` of the goals; empty when nothing does."""
    short = []
    for mode, goals in GOALS.items():
        for name, row in report[mode].items():
            goal = goals.get(row["group"])
            if goal is not None and row["ratio"] < goal * part:
                short.append(f"{MODES[mode]}: {row['ratio']:.2f} times {name}, asked for {goal * part:.2f}")
    return short


def show(report: dict[str, dict[str, dict[str, Any]]], field: Sequence[type[Contender]]) -> None:
    versions = {c.name: c.version() for c in field}
    for mode, title in MODES.items():
        goals = GOALS[mode]
        print(f"\n{title:34}{'µs a life':>10}{'times ours':>12}{'worst':>8}{'goal':>7}")
        for name, row in report[mode].items():
            goal = goals.get(row["group"])
            label = f"{name} {versions.get(name) or ''}".strip()
            aim = f"{goal:>7.1f}" if goal else ""
            print(f"{label:34}{row['micros']:>10.2f}{row['ratio']:>12.2f}{row['worst']:>8.2f}{aim}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.life", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="at least five for a figure to be quoted")
    parser.add_argument("--lives", type=int, default=10_000, help="lives in a sample; slow peers lead fewer")
    parser.add_argument("--arguments", choices=("small", "hundred"), default="small", help="JSON of 25 or 100 bytes")
    parser.add_argument("--no-peers", action="store_true", help="without the packages of the extra `bench`")
    parser.add_argument("--patience", type=int, default=5, help="rounds to repeat for other load")
    parser.add_argument("--smoke", action="store_true", help="few, short rounds; fails below half of the goals")
    parser.add_argument("--strict", action="store_true", help="fails below the goals")
    parser.add_argument("--json", type=Path, default=None, help="where the report goes")
    options = parser.parse_args(argv)
    rounds, lives, patience = (3, 2_000, 0) if options.smoke else (options.rounds, options.lives, options.patience)
    arguments = SMALL if options.arguments == "small" else HUNDRED

    field = contenders(peers=not options.no_peers)
    print(machine_line())
    samples, loads, repeated = measure(field, rounds, lives, arguments, patience)
    report = compare(samples, field)
    show(report, field)
    known = [load for load in loads if load is not None]
    loudest = max(known, default=0.0)
    print(f"\n{rounds} rounds of {lives} lives, other load {loudest:.2f} cores at most, {repeated} rounds repeated")
    for contender in field:
        if contender.note:
            print(f"  {contender.name}: {contender.note}")
    write_json(
        options.json or local_result("life-smoke" if options.smoke else "life"),
        {
            "bench": "life",
            "machine": machine(),
            "rounds": rounds,
            "lives": lives,
            "arguments": options.arguments,
            "other_load": loads,
            "versions": {c.name: c.version() for c in field},
            "samples_micros": samples,
            "summary": report,
        },
    )
    short = verdicts(report, 1.0 if options.strict else 0.5 if options.smoke else 0.0)
    for line in short:
        print(f"too slow, {line}", file=sys.stderr)
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
