"""The other ways to a server: a cluster, sentinels, TLS, a socket, a user with few rights (`make test-matrix`)."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.crc import key_slot

from ferroq import Job, JobState, JobStateKind
from ferroq.errors import AuthenticationError, StorageError
from ferroq.redis import RedisConfig, RedisStorage
from ferroq.testing import ServerContract
from ferroq.testing.contract import promises
from ferroq.testing.contract.claims import ClaimContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.waiting import WaitContract
from tests.contract.redis_backend import RedisBackend
from tests.servers import Flavour, RedisServer, free_port

from .cluster import Cluster, Watched, cluster, watched
from .support import BOUND, put, storage_on

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.scope("redis"),
    pytest.mark.filterwarnings("ignore:appendonly is off:ferroq.errors.StorageWarning"),
    pytest.mark.filterwarnings("ignore:INFO is not allowed:ferroq.errors.StorageWarning"),
]

RIGHTS = (
    "~{app}:*", "&{app}:*", "-@all", "+evalsha", "+eval", "+time", "+info", "+ssubscribe", "+sunsubscribe", "+spublish",
    "+hget", "+hmget", "+hset", "+hdel", "+hlen", "+hexists", "+get", "+set", "+del", "+exists",
    "+zadd", "+zrem", "+zcard", "+zcount", "+zrange", "+zscore", "+zremrangebyrank",
)  # fmt: skip
"""What docs/redis.md tells an operator to grant."""


class ClusterBackend(RedisBackend):
    """Stores on a cluster: each prefix on the node of its slot."""

    def __init__(self, made: Cluster) -> None:
        super().__init__(made.url)
        self.made = made

    def admin(self, prefix: str) -> Redis:
        slot = key_slot(prefix.encode())
        node = self.made.nodes[0 if slot < 5461 else 1 if slot < 10923 else 2]
        return Redis(host=node.host, port=node.port, protocol=2)


@pytest.fixture(scope="module")
def three_nodes(server_flavour: Flavour) -> Iterator[Cluster]:
    with cluster(server_flavour) as made:
        yield made


class TestCluster(ServerContract):
    """The whole contract on a cluster of three nodes."""

    @pytest.fixture
    async def backend(self, anyio_backend: object, three_nodes: Cluster) -> AsyncIterator[RedisBackend]:
        backend = ClusterBackend(three_nodes)
        yield backend
        await backend.close()


@pytest.mark.anyio
@promises("L7", "E4")
async def test_a_slot_that_moves_under_load(server_flavour: Flavour) -> None:
    with cluster(server_flavour) as made:
        async with storage_on(made.url, key_prefix="app", command_timeout=8) as storage:
            jobs = await put(storage, 300)
            slot = key_slot(b"app")
            waiter = asyncio.ensure_future(storage.wait_for_jobs(["later"]))

            async def drain() -> list[str]:
                done: list[str] = []
                while batch := await storage.fetch_available_jobs_atomic("w", 5):
                    for job in batch:
                        job.set_state(JobState.succeeded(1))
                    assert await storage.update_many(batch) == [None] * len(batch)
                    done += [job.id for job in batch]
                return done

            draining = asyncio.ensure_future(drain())
            for node in (0, 1, 2):
                await asyncio.to_thread(made.move, slot, node)
            async with asyncio.timeout(3 * BOUND):
                assert sorted(await draining) == sorted(job.id for job in jobs)
                await storage.enqueue(Job("work", queue="later"))
                assert await waiter is True
            assert await storage.verify() == []


class Subset(ClaimContract, WaitContract, ContractBase):
    """Claims and waits: every kind of request and the connection that listens."""


class TestUnixSocket(Subset):
    @pytest.fixture
    async def backend(self, anyio_backend: object, own_server: RedisServer) -> AsyncIterator[RedisBackend]:
        backend = SocketBackend(own_server.unix_url)
        yield backend
        await backend.close()


class SocketBackend(RedisBackend):
    def admin(self, prefix: str) -> Redis:
        return Redis(unix_socket_path=self.url.removeprefix("unix://").partition("?")[0], protocol=2)


class TestLeastRights(Subset):
    """A user that may do what the documentation grants, on one prefix, and nothing else."""

    @pytest.fixture
    async def backend(self, anyio_backend: object, own_server: RedisServer) -> AsyncIterator[RedisBackend]:
        with SyncRedis.from_url(own_server.url, protocol=2) as server:
            rights = [right.replace("{app}", "{app-*}") for right in RIGHTS]
            server.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">pass word", *rights)
        backend = UserBackend(own_server.url, username="worker", password="pass word")
        yield backend
        await backend.close()


class UserBackend(RedisBackend):
    async def open(self, **options: Any) -> Any:
        return await super().open(**{"key_prefix": f"app-{len(self.prefixes)}", **options})


@pytest.mark.anyio
@promises("E5", "C3")
async def test_the_documented_rights_are_enough(own_server: RedisServer) -> None:
    with SyncRedis.from_url(own_server.url, protocol=2) as server:
        server.execute_command("ACL", "SETUSER", "worker", "reset", "on", ">secret", *RIGHTS)
    url = own_server.url.replace("redis://", "redis://worker:secret@")
    async with storage_on(url, key_prefix="app", keep_deleted=60) as storage:
        await put(storage, 5)
        assert await storage.try_acquire_job_lock("job-0", "w", 60)
        assert await storage.release_job_lock("job-0", "w")
        assert len(await storage.list(JobStateKind.ENQUEUED, queue="default")) == 5
        assert len(await storage.get_available_jobs()) == 5
        jobs = await storage.fetch_available_jobs_atomic("w", 3)
        assert await storage.extend_job_locks(jobs, 60) == [True] * 3
        assert await storage.release_jobs(jobs[:1]) == [True]
        jobs[1].set_state(JobState.deleted())
        await storage.update(jobs[1])
        assert await storage.delete("job-4") is True
        assert await storage.purge(["deleted", "failed"], 0) == 1
        assert await storage.wait_for_jobs(None, 1) is True
        assert await storage.wait_for_jobs(["nothing"], 0.1) is False
        assert await storage.verify() == []
    with pytest.raises(AuthenticationError):
        async with storage_on(url, key_prefix="other") as other:
            await other.enqueue(Job("work"))


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """An authority, and a certificate for 127.0.0.1 that it signed."""
    # Not pytest's own folder for such: another run of the same user closes that to the server's user.
    with tempfile.TemporaryDirectory(prefix="ferroq-tls-") as name:
        yield _certificates_in(Path(name))


def _certificates_in(folder: Path) -> Path:
    folder.chmod(0o755)
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile san",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


class TlsBackend(RedisBackend):
    def admin(self, prefix: str) -> Redis:
        return Redis.from_url(self.url, protocol=2, ssl_ca_certs=self.options["tls_ca_file"])


class TestTls(Subset):
    """The distribution's Redis: the wheel's Valkey is built without TLS."""

    @pytest.fixture
    async def backend(self, anyio_backend: object, certificates: Path) -> AsyncIterator[RedisBackend]:
        with TlsServer(certificates) as server:
            backend = TlsBackend(server.tls_url, tls_ca_file=str(certificates / "ca.crt"))
            yield backend
            await backend.close()


class TlsServer(RedisServer):
    """Takes TLS on a second port, which is a fresh one whenever a start is tried: the last one may be taken."""

    def __init__(self, certificates: Path) -> None:
        super().__init__("debian")
        self.options |= {
            "tls-cert-file": certificates / "server.crt",
            "tls-key-file": certificates / "server.key",
            "tls-ca-cert-file": certificates / "ca.crt",
            "tls-auth-clients": "no",
        }

    def _command(self) -> list[str | Path]:
        self.options["tls-port"] = free_port()
        return super()._command()

    @property
    def tls_url(self) -> str:
        return f"rediss://{self.host}:{self.options['tls-port']}"


@pytest.mark.anyio
@promises("C3", "E4")
async def test_a_certificate_of_nobody_we_know(certificates: Path) -> None:
    with TlsServer(certificates) as server:
        url = server.tls_url
        with pytest.raises(StorageError):
            await RedisStorage(RedisConfig(url=url, command_timeout=0.5)).open()
        async with storage_on(url, tls_verify=False) as storage:
            assert await storage.enqueue(Job("work"))


@pytest.mark.anyio
@promises("Q24", "Q25", "Q7")
@pytest.mark.parametrize("flavour", ["wheel", "debian"])
async def test_the_order_under_a_locale(flavour: Flavour) -> None:
    """A service started by the system has the system's locale, by which Lua compares strings."""
    with tempfile.TemporaryDirectory(prefix="ferroq-locale-") as name:
        Path(name).chmod(0o755)
        subprocess.run(
            ["localedef", "-i", "en_US", "-f", "UTF-8", f"{name}/en_US.UTF-8"], check=True, capture_output=True
        )
        server = RedisServer(flavour)
        server.environment |= {"LC_ALL": "en_US.UTF-8", "LOCPATH": name}
        with server:
            async with storage_on(server.url) as storage:
                jobs = [Job("work", id=f"job-{index}", queue=f"q{index % 3}") for index in range(2500)]
                for at in range(0, 2500, 50):
                    await storage.enqueue_many(jobs[at : at + 50])
                names = [job.id for job in jobs]
                assert [job.id for job in await storage.get_available_jobs()] == names
                claimed: list[str] = []
                while batch := await storage.fetch_available_jobs_atomic("w", 70):
                    claimed += [job.id for job in batch]
                assert claimed == names


@pytest.fixture
def main_service(server_flavour: Flavour) -> Iterator[Watched]:
    with watched(server_flavour) as made:
        yield made


@pytest.mark.anyio
@promises("E4", "L2", "Q16")
async def test_a_failover(main_service: Watched) -> None:
    async with storage_on(main_service.url, command_timeout=20) as storage:
        await put(storage, 50)
        first = await storage.fetch_available_jobs_atomic("w", 10)
        waiter = asyncio.ensure_future(storage.wait_for_jobs(["later"]))
        with SyncRedis.from_url(main_service.master.url, protocol=2) as master:
            master.wait(1, 5000)
        await asyncio.to_thread(main_service.master.kill)
        second = await storage.fetch_available_jobs_atomic("w", 10)
        assert len(second) == 10
        assert min(job.lock.token for job in second if job.lock) > max(job.lock.token for job in first if job.lock)
        for job in (*first, *second):
            job.set_state(JobState.succeeded(1))
        assert await storage.update_many([*first, *second]) == [None] * 20
        await storage.enqueue(Job("work", queue="later"))
        async with asyncio.timeout(3 * BOUND):
            assert await waiter is True
        assert (await storage.get_job_counts())[JobStateKind.SUCCEEDED] == 20
        assert await storage.verify() == []
