"""Instructions of the server a job, by operation.

Run: ``python -m benches.redis.instructions [--flavour debian] [--jobs 10000] [--batches 100,1000]``; it needs valgrind
and takes a minute.

Times of a shared machine say little about a small change; what callgrind counts is the same within a hundredth. Counted
is the whole server process, its append-only file included, so the figures belong to its build. Misses of the cache are
in no count: judge by times (`benches.redis.compare`), too, what stores differently.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import warnings
from pathlib import Path

from redis import Redis

from benches.measure import machine_line
from tests.servers import RedisServer

from .compare import empty
from .peers.ours import Ours

OPERATIONS = ("enqueue", "claim", "settle")


class CountedServer(RedisServer):
    """A server under callgrind, which counts when it is told to."""

    @property
    def counts(self) -> Path:
        return self.folder / "callgrind"

    def _command(self) -> list[str | Path]:
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.counts}"]
        return [*callgrind, *super()._command()]

    def control(self, *words: str) -> None:
        # It talks to processes of its own user only.
        command = ["callgrind_control", *words, str(self.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=60, user=self._uid, group=self._uid)

    def count(self, dump: int) -> int:
        """Instructions between two dumps."""
        text = self.counts.with_suffix(f".{dump}").read_text()
        return int(re.findall(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)[-1])


async def run(flavour: str, jobs: int, batches: list[int]) -> None:
    options = {"auto-aof-rewrite-percentage": 0, "busy-reply-threshold": 60_000}
    with CountedServer("debian" if flavour == "debian" else "wheel", durable=True, options=options) as server:
        admin = Redis.from_url(server.url, protocol=2)
        dump = 0
        for batch in batches:
            peer = Ours()
            await peer.open(server.url)
            await peer.life(batch, batch)  # scripts are loaded
            empty(admin)
            found = []
            server.control("-i", "on")
            for operation in OPERATIONS:
                await getattr(peer, operation)(jobs, batch)
                server.control("-d")
                dump += 1
                found.append(server.count(dump) / jobs)
            server.control("-i", "off")
            await peer.close()
            cells = "; ".join(f"{name} {count:,.0f}" for name, count in zip(OPERATIONS, found, strict=True))
            print(f"batch {batch}: {cells}; life {sum(found):,.0f} instructions of the server a job", flush=True)
        admin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flavour", choices=["wheel", "debian"], default="wheel")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[100, 1000])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine_line())
    asyncio.run(run(options.flavour, options.jobs, options.batches))


if __name__ == "__main__":
    main()
