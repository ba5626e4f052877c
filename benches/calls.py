"""What each call costs from Python, in nanoseconds: `python -m benches.calls`.

The sections are those whose instructions CI counts (`workload.py`): here they are timed, in rounds that run each on a
fresh store. Times are processor time; under load a time is worth less than a count.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time

from .measure import clean_heap, local_result, machine, machine_line, watched, write_json
from .workload import SECTIONS, TIMES, Stage


async def nanoseconds(title: str) -> float:
    """A call of one section, on a store of its own."""
    body, prepare = SECTIONS[title]
    stage = Stage()
    if prepare is not None:
        prepare(stage)
    with clean_heap():
        start = process_time()
        await body(stage)
        return (process_time() - start) / TIMES * 1e9


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, default=None, help="where the report goes")
    options = parser.parse_args(argv)
    print(machine_line())
    samples: dict[str, list[float]] = {title: [] for title in SECTIONS}
    with watched() as load:
        for _ in range(options.rounds):
            for title, taken in samples.items():
                taken.append(asyncio.run(nanoseconds(title)))
    print(f"\n{'':46}{'ns, median':>12}{'best':>8}{'worst':>8}")
    for title, taken in samples.items():
        print(f"{title:46}{median(taken):>12.0f}{min(taken):>8.0f}{max(taken):>8.0f}")
    print(f"\n{options.rounds} rounds, other load {load.others or 0:.2f} cores")
    write_json(
        options.json or local_result("calls"),
        {
            "bench": "calls",
            "machine": machine(),
            "rounds": options.rounds,
            "other_load": load.others,
            "samples_nanos": samples,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
