"""PgBouncer in transaction mode before a test server: Debian's package, on a free port, gone with this process."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.servers import ServerError


class PgBouncer:
    """Hands each transaction to whichever server connection is free."""

    def __init__(self, dsn: str, *, pool_size: int = 6) -> None:
        parts = urlsplit(dsn)
        self.user = parts.username or "postgres"
        self.database = parts.path.strip("/")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="ferroq-pgbouncer-"))
        users = self.folder / "users"
        users.write_text(f'"{self.user}" ""\n')
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n{self.database} = host={parts.hostname} port={parts.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nauth_type = trust\n"
            f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 500\n"
            "server_idle_timeout = 1\nignore_startup_parameters = extra_float_digits\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    def __enter__(self) -> Self:
        program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            raise ServerError("pgbouncer is not installed: apt-get install pgbouncer")
        options: dict[str, object] = {}
        if os.geteuid() == 0:
            # It refuses to run as root, as the server does.
            uid = pwd.getpwnam("nobody").pw_uid
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, uid, uid)
            options = {"user": uid, "group": uid, "extra_groups": []}
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, str(self.folder / "pgbouncer.ini")],
                stdout=log,
                stderr=log,
                **options,  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServerError(f"pgbouncer did not start:\n{(self.folder / 'log').read_text()}") from None
                time.sleep(0.01)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            # Not a signal that asks: it would wait for clients, and there is nothing to save.
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
