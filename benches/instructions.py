"""Instruction counts of the engine's operations and of the hot calls from Python: `python -m benches.instructions`.

A count is exact and repeatable where a time is not, so CI holds every build against a committed table
(`instructions.json`): `--check` does, `--update` rewrites it. Counted is what is the same on any machine that has our
toolchain: instructions inside our own binary (the native module, or the engine's bench), and how often that asks for
memory. The interpreter's and the C library's share depends on how they were built and on what the processor can do; it
is shown and not checked.

The calls from Python are counted on CPython 3.11, which CI builds with; the table says of which one it is. Another
3.11 is held to the same counts: our binary does not change with it. On another minor version nothing is held to
anything, and the check says so.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .callgrind import Section, ValgrindMissing, run, shares

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_name("instructions.json")
# A store draws the seed of its hash tables, and a clock ticks as it likes: counts differ by a hundredth between runs.
TOLERANCE = 0.10
OTHER_COMPILER = 0.25  # a count belongs to a compiler: another one is held to the shape only
SLACK = 8  # instructions, and hundredths of an allocation, that are no news whatever the share

Counts = dict[str, dict[str, float]]


def count_engine() -> tuple[list[Section], Callable[[str], bool]]:
    """The engine without Python, built as for release."""
    command = ["cargo", "bench", "-p", "ferroq-core", "--bench", "instructions", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if built.returncode != 0:
        raise RuntimeError(f"cargo failed:\n{built.stderr[-4000:]}")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    program = next(m["executable"] for m in messages if m.get("target", {}).get("name") == "instructions")
    sections = run([program], "instructions::section_marker*", os.environ)
    return sections, lambda where: Path(where).name == Path(program).name


def count_python() -> tuple[list[Section], Callable[[str], bool]]:
    """The calls as a user makes them, with the native module that this interpreter imports."""
    # Hashes of strings decide where a dict looks: they must not differ from run to run.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    sections = run([sys.executable, "-m", "benches.workload"], "getloadavg", environment)
    suffixes = tuple(f"_native{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES)
    return sections, lambda where: where.endswith(suffixes)


def table_of(sections: Sequence[Section], mine: Callable[[str], bool]) -> Counts:
    return {
        section.title: {
            "instructions": round(section.instructions(mine)),
            "allocations": round(section.allocated(mine), 2),
        }
        for section in sections
    }


def compiler() -> str:
    """The rustc that builds here, without its date."""
    said = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:2])


def compare(part: str, now: Counts, then: dict[str, Any], rustc: str, version: str) -> list[str]:
    """What costs more than the table allows; what costs less is only told."""
    tolerance = TOLERANCE
    if then["rustc"] != rustc:
        tolerance = OTHER_COMPILER
        print(f"{part}: the table is of {then['rustc']}, this is {rustc}: held to {tolerance:.0%}")
    if then.get("python", version) != version:
        print(f"{part}: the table is of CPython {then['python']}, this is {version}: held to the same counts")
    counted: Counts = then["counts"]
    complaints = [f"{part}: {title!r} is not in the table" for title in now if title not in counted]
    complaints += [f"{part}: {title!r} is in the table and was not counted" for title in counted if title not in now]
    for title in now.keys() & counted.keys():
        for unit, slack in (("instructions", SLACK), ("allocations", SLACK / 100)):
            new, old = now[title][unit], counted[title][unit]
            if new > old * (1 + tolerance) + slack:
                complaints.append(
                    f"{part}: {title!r} costs {new:g} {unit}, {new / old - 1 if old else 1:+.0%} on {old:g}"
                )
            elif new < old * (1 - tolerance) - slack:
                print(f"{part}: {title!r} costs {new:g} {unit}, less than {old:g}: --update keeps the gain")
    return complaints


def show(part: str, sections: Sequence[Section], mine: Callable[[str], bool], top: int, of: str | None) -> None:
    print(f"\n{part:46}{'instructions':>13}{'allocations':>13}{'with all else':>15}")
    for section in sections:
        print(
            f"{section.title:46}{section.instructions(mine):>13.0f}{section.allocated(mine):>13.2f}{section.total():>15.0f}"
        )
    for section in sections:
        if section.title == of:
            print(f"\n{of}: where the instructions are, a time\n{'own':>8}{'inclusive':>11}")
            for where, function, own, inclusive in shares(section, top):
                print(f"{own:>8.0f}{inclusive:>11.0f}  {where[:20]:22}{function[:120]}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.instructions", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fails where a count is above the table's")
    parser.add_argument("--update", action="store_true", help="rewrites the table for this compiler and this CPython")
    parser.add_argument("--only", choices=("engine", "python"), default=None)
    parser.add_argument("--of", metavar="SECTION", default=None, help="shows the functions of a section, like 'life'")
    parser.add_argument("--top", type=int, default=30, help="how many of them")
    options = parser.parse_args(argv)

    python = f"cpython-{sys.version_info.major}.{sys.version_info.minor}"
    parts = {"engine": count_engine, python: count_python}
    if options.only is not None:
        parts = {name: count for name, count in parts.items() if (name == "engine") == (options.only == "engine")}
    table: dict[str, Any] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    rustc, version = compiler(), platform.python_version()
    complaints: list[str] = []
    for name, count in parts.items():
        try:
            sections, mine = count()
        except ValgrindMissing as missing:
            print(missing, file=sys.stderr)
            return 2
        show(name, sections, mine, options.top, options.of)
        counts = table_of(sections, mine)
        if options.update:
            facts = {"rustc": rustc} if name == "engine" else {"rustc": rustc, "python": version}
            table[name] = {**facts, "counts": counts}
        elif options.check and name in table:
            complaints += compare(name, counts, table[name], rustc, version)
        elif options.check:
            print(f"{name}: the table has no counts of it: held to nothing (--update would add them)")
    if options.update:
        TABLE.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")
    elif options.check and not complaints:
        print("\nall counts are within the table's")
    for line in complaints:
        print(line, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
