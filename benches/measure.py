"""How the benches measure: interleaved rounds, ratios within a round, the machine's other load beside the figures."""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

RESULTS = Path(__file__).parent / "results"
QUIET = 0.3  # cores that others may use in a round that counts


def machine() -> dict[str, Any]:
    """What a figure means nothing without."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        # How an interpreter was built decides how fast pure Python runs in it. Distributions may optimise by ways of
        # their own: this says what is known, no more.
        "python_build": f"{'with' if '--enable-optimizations' in options else 'without'} --enable-optimizations",
        "load_average": round(os.getloadavg()[0], 2),
    }


def machine_line() -> str:
    facts = machine()
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['system']}; {facts['python']}, {facts['python_build']}; "
        f"load {facts['load_average']}"
    )


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


@dataclass
class Load:
    """Cores that the rest of the machine used during a stretch of time; None where the system does not tell."""

    others: float | None = None

    @property
    def quiet(self) -> bool:
        return self.others is None or self.others <= QUIET


@contextmanager
def watched() -> Iterator[Load]:
    """Measures the other load of the machine while the body runs."""
    load = Load()
    busy, own, wall = _busy(), process_time(), perf_counter()
    yield load
    after = _busy()
    if busy is not None and after is not None:
        # Ticks are 10 ms: the difference is meant for bodies of a tenth of a second and more.
        others = after - busy - (process_time() - own)
        load.others = round(max(0.0, others / (perf_counter() - wall)), 2)


def _busy() -> float | None:
    """Processor seconds that the whole machine has been busy, steal included: what others took is what matters."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    ticks = [int(field) for field in fields]
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def clean_heap() -> Iterator[None]:
    """Collects what earlier samples left, hides what lives on, and leaves the collector on: its cost is real."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Round by round, never across rounds."""
    return [a / b for a, b in zip(of, to, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median and worst, where less is worse."""
    return median(values), min(values)


def write_json(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {os.path.relpath(path)}", file=sys.stderr)


def local_result(bench: str) -> Path:
    """Where a run on this machine goes unless it is meant for the report; git ignores the folder."""
    return RESULTS / "local" / f"{bench}-py{sys.version_info.major}{sys.version_info.minor}.json"
