"""BullMQ, in a node of its own that `bullmq.mjs` runs in."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

from . import IN_FLIGHT, Missing, Peer, Spent

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / "build" / "bullmq"
OLDEST_NODE = 18


def install() -> None:
    """Into build/, by the versions that package.json pins."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Missing(f"BullMQ needs node {OLDEST_NODE} or newer and npm on PATH")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(found.lstrip("v").split(".")[0]) < OLDEST_NODE:
        raise Missing(f"BullMQ needs node {OLDEST_NODE} or newer; this is {found}")
    pinned = (HERE / "package.json").read_text()
    package = INSTALLED / "package.json"
    if package.exists() and package.read_text() == pinned and (INSTALLED / "node_modules" / "bullmq").exists():
        return
    INSTALLED.mkdir(parents=True, exist_ok=True)
    package.write_text(pinned)
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        package.unlink()
        raise Missing(f"npm could not install BullMQ:\n{done.stderr or done.stdout}")


class BullMq(Peer):
    name = "BullMQ"
    note = "addBulk; getNextJob and moveToCompleted in pipelines; for the life a Worker of concurrency 100 at most"

    async def open(self, url: str) -> None:
        await asyncio.to_thread(install)
        self.process = await asyncio.create_subprocess_exec(
            "node",
            str(HERE / "bullmq.mjs"),
            url,
            str(IN_FLIGHT),
            cwd=INSTALLED,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()

    def version(self) -> str:
        found = json.loads((INSTALLED / "node_modules" / "bullmq" / "package.json").read_text())
        return str(found["version"])

    async def _ask(self, operation: str, jobs: int, batch: int) -> Spent:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"op": operation, "jobs": jobs, "batch": batch}) + "\n"
        self.process.stdin.write(line.encode())
        answer = await self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"BullMQ's node ended in {operation}")
        return Spent(**json.loads(answer))

    async def enqueue(self, jobs: int, batch: int) -> Spent:
        return await self._ask("enqueue", jobs, batch)

    async def claim(self, jobs: int, batch: int) -> Spent:
        return await self._ask("claim", jobs, batch)

    async def settle(self, jobs: int, batch: int) -> Spent:
        return await self._ask("settle", jobs, batch)

    async def life(self, jobs: int, batch: int) -> Spent:
        return await self._ask("life", jobs, batch)
