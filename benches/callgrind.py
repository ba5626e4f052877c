"""Runs a program under callgrind and reads what it counted, section by section."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_ALLOCATORS = frozenset({"malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"})
_COST = re.compile(r"^(?:0x[0-9a-f]+|\d+) (\d+)")


class ValgrindMissing(Exception):
    """There is no valgrind here."""


@dataclass
class Section:
    """What happened between two markers, `times` times over."""

    title: str
    times: int
    own: Counter[tuple[str, str]] = field(default_factory=Counter)  # object, function: instructions of its own
    inclusive: Counter[tuple[str, str]] = field(default_factory=Counter)  # with what it called
    allocations: Counter[str] = field(default_factory=Counter)  # object that asked: calls of an allocator

    def instructions(self, mine: Callable[[str], bool]) -> float:
        """Instructions a time, inside the objects that are ours."""
        return sum(cost for (where, _), cost in self.own.items() if mine(where)) / self.times

    def allocated(self, mine: Callable[[str], bool]) -> float:
        """Calls of an allocator a time, made by the objects that are ours."""
        return sum(calls for where, calls in self.allocations.items() if mine(where)) / self.times

    def total(self) -> float:
        """Instructions a time, wherever."""
        return sum(self.own.values()) / self.times


def run(command: Sequence[str], marker: str, environment: Mapping[str, str]) -> list[Section]:
    """Runs a program that calls `marker` before and after each section, and prints `times N` and `section TITLE`s."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise ValgrindMissing("valgrind is needed to count instructions: on Debian, apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="ferroq-callgrind-") as folder:
        out = Path(folder) / "out"
        options = [
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            f"--dump-before={marker}",
            "--compress-strings=no",
            "--compress-pos=no",
        ]
        done = subprocess.run([valgrind, *options, *command], env=dict(environment), capture_output=True, text=True)
        if done.returncode != 0:
            sys.stderr.write(done.stderr[-4000:])
            raise RuntimeError(f"{command[0]} failed under callgrind with exit code {done.returncode}")
        lines = [line.partition(" ") for line in done.stdout.splitlines()]
        times = next(int(value) for word, _, value in lines if word == "times")
        titles = [value for word, _, value in lines if word == "section"]
        # The first dump holds the start and what prepares the first section, the second that section, and so on.
        sections = []
        for number, title in enumerate(titles):
            part = out.with_name(f"out.{2 * number + 2}")
            sections.append(_read(part.read_text(errors="replace").splitlines(), Section(title, times)))
        return sections


def _read(lines: Iterable[str], section: Section) -> Section:
    """One dump. Lines in turn name where costs belong (`ob`, `fn`), whom a call goes to (`cob`, `cfn`), and costs."""
    where = function = ""
    called_where = called = ""
    calls: int | None = None
    for line in lines:
        if line.startswith("ob="):
            where = line[3:]
        elif line.startswith("fn="):
            function = line[3:]
            called_where = ""
        elif line.startswith("cob="):
            called_where = line[4:]
        elif line.startswith("cfn="):
            called = line[4:]
        elif line.startswith("calls="):
            calls = int(line[6:].split()[0])
        elif cost := _COST.match(line):
            if calls is None:
                section.own[where, function] += int(cost[1])
                section.inclusive[where, function] += int(cost[1])
                continue
            # The line after `calls=`: what the callee cost, itself and below. A call still under way counts 0 times.
            section.inclusive[where, function] += int(cost[1])
            if _plain(called) in _ALLOCATORS and (called_where or where) != where:
                section.allocations[where] += calls
            calls, called_where = None, ""
    return section


def _plain(function: str) -> str:
    """Callgrind marks recursion levels and glibc marks versions."""
    return re.split(r"['@]", function, maxsplit=1)[0]


def shares(section: Section, top: int) -> list[tuple[str, str, float, float]]:
    """The functions with the most instructions of their own: object, function, own and inclusive a time."""
    rows: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for key, cost in section.own.items():
        rows[key][0] += cost / section.times
    for key, cost in section.inclusive.items():
        rows[key][1] += cost / section.times
    ranked = sorted(rows.items(), key=lambda row: -row[1][0])[:top]
    return [(Path(where).name, function, own, below) for (where, function), (own, below) in ranked]
