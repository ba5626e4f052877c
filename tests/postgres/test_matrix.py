"""The contract on Postgres in other surroundings (`make test-matrix`).

The whole suite through pgbouncer in transaction mode; parts of it as a role with the documented grants and no more, and
over TLS. (On Debian's PostgreSQL: `FERROQ_TEST_FLAVOUR=debian`, tests/contract/test_postgres.py.)
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from ferroq import Job
from ferroq.errors import ConfigurationError, StorageError
from ferroq.postgres import PostgresStorage, migrate
from ferroq.storage import Storage
from ferroq.testing import ServerContract
from ferroq.testing.contract.batches import ReleaseContract, RenewalContract, UpdateManyContract
from ferroq.testing.contract.claims import ClaimContract
from ferroq.testing.contract.enqueue import EnqueueContract
from ferroq.testing.contract.explicit import ExplicitLockContract
from ferroq.testing.contract.housekeeping import PurgeContract
from ferroq.testing.contract.lapse import LapseContract
from ferroq.testing.contract.listing import ListContract
from ferroq.testing.contract.suite import ContractBase
from ferroq.testing.contract.update_free import FreeUpdateContract
from ferroq.testing.contract.update_held import HeldUpdateContract
from ferroq.testing.contract.waiting import WaitContract
from tests.contract.postgres_backend import PostgresBackend
from tests.postgres.pgbouncer import PgBouncer
from tests.servers import Flavour, PostgresServer

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def bouncer(postgres_dsn: str) -> Iterator[PgBouncer]:
    with PgBouncer(postgres_dsn) as bouncer:
        yield bouncer


class TestThroughPgbouncer(ServerContract):
    """Everything, each transaction on whichever server connection is free; only LISTEN goes to the server itself."""

    @pytest.fixture
    async def backend(
        self, anyio_backend: object, postgres_dsn: str, bouncer: PgBouncer
    ) -> AsyncIterator[PostgresBackend]:
        backend = PostgresBackend(
            postgres_dsn, database_url=bouncer.dsn, listen_url=postgres_dsn, statement_cache_size=0
        )
        yield backend
        await backend.close()


ROLE = "ferroq_app"


class LeastPrivilege(PostgresBackend):
    """Tables made by their owner; the storage connects as a role with the grants that `ferroq migrate --sql` prints."""

    async def prepare(self, schema: str) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await migrate.apply(connection, schema)
            for grant in migrate.grants(schema, ROLE):
                await connection.execute(grant)
        finally:
            await connection.close()

    async def open(self, **options: object) -> Storage:
        return await super().open(**{"auto_migrate": False, **options})


class TestLeastPrivilege(
    EnqueueContract,
    ListContract,
    ClaimContract,
    FreeUpdateContract,
    HeldUpdateContract,
    UpdateManyContract,
    RenewalContract,
    ReleaseContract,
    ExplicitLockContract,
    LapseContract,
    WaitContract,
    PurgeContract,
    ContractBase,
):
    """All operations under the minimal rights."""

    @pytest.fixture
    async def backend(self, anyio_backend: object, postgres_dsn: str) -> AsyncIterator[LeastPrivilege]:
        connection = await asyncpg.connect(postgres_dsn)
        if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
        await connection.close()
        user = postgres_dsn.split("//")[1].split("@")[0]
        backend = LeastPrivilege(postgres_dsn, database_url=postgres_dsn.replace(f"//{user}@", f"//{ROLE}@"))
        yield backend
        await backend.close()

    async def test_it_cannot_change_the_tables(self, backend: LeastPrivilege) -> None:
        storage = await backend.open()
        assert isinstance(storage, PostgresStorage)
        connection = await asyncpg.connect(storage.config.dsn())
        for sql in ("DROP TABLE {s}.job", "UPDATE {s}.migration SET checksum = ''", "CREATE TABLE {s}.mine (x int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(sql.format(s=storage.config.schema_name))
        await connection.close()


class Tls:
    """A server that takes TLS only, and the files that its clients need."""

    def __init__(self, flavour: Flavour) -> None:
        self.server = PostgresServer(flavour)
        self.folder = self.server.folder

    def start(self) -> None:
        key, certificate = self.folder / "server.key", self.folder / "server.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        access = self.folder / "hba"
        access.write_text("hostssl all all 127.0.0.1/32 trust\nhostnossl all all all reject\n")
        key.chmod(0o600)
        if os.geteuid() == 0:
            owner = self.folder.stat()
            for path in (key, certificate, access):
                os.chown(path, owner.st_uid, owner.st_gid)
        self.server.settings |= {
            "ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key, "hba_file": access,
        }  # fmt: skip
        self.server.start()


@pytest.fixture(scope="module")
def tls() -> Iterator[Tls]:
    tls = Tls("debian")  # the wheel's server is built without TLS
    try:
        tls.start()
        yield tls
    finally:
        tls.server.close()


class TestOverTls(EnqueueContract, WaitContract, ContractBase):
    """A checked certificate; the pool and the listening connection alike."""

    @pytest.fixture
    async def backend(self, anyio_backend: object, tls: Tls) -> AsyncIterator[PostgresBackend]:
        root = str(tls.folder / "server.crt")
        backend = PostgresBackend(tls.server.dsn + "?sslmode=require", sslmode="verify-full", sslrootcert=root)
        yield backend
        await backend.close()

    async def test_it_is_encrypted(self, backend: PostgresBackend, tls: Tls) -> None:
        storage = await backend.open()
        assert isinstance(storage, PostgresStorage)
        await storage.enqueue(Job("work"))
        assert storage._life.opened is not None
        encrypted = await storage._life.opened.connections.run(
            "test", lambda conn: conn.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        )
        assert encrypted is True
        for options in ({"sslmode": "disable", "sslrootcert": None}, {"sslrootcert": _other_authority(tls.folder)}):
            with pytest.raises(StorageError) as caught:
                await backend.made(storage.config.schema_name, **options).open()
            assert isinstance(caught.value, ConfigurationError) or "pg_hba" in str(caught.value)


def _other_authority(folder: Path) -> str:
    other = folder / "other.crt"
    if not other.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other",
             "-keyout", folder / "other.key", "-out", other],
            check=True, capture_output=True,
        )  # fmt: skip
    return str(other)
