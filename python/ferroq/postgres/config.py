"""The configuration of a `PostgresStorage` [C4]."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

from .._options import (
    Boolean,
    Choice,
    Instance,
    Integer,
    Kind,
    Name,
    Number,
    Optional,
    Rejected,
    Text,
    option,
    split_url,
)
from ..config import CommonConfig

SCHEMES = ("postgresql", "postgres")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# What libpq spells with another name than the field, and what both spell alike, in a URL's query.
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")
_ADDRESS = (
    "host", "port", "user", "password", "passfile", "dbname", "target_session_attrs", "application_name", "options",
)  # fmt: skip

_SCHEMA_NAME: Kind = Name(r"[a-z_][a-z0-9_]{0,47}", "1 to 48 of a-z, 0-9 and _, no digit first")


def _joined(scheme: str, netloc: str, path: str, query: str) -> str:
    """A URL of its parts. Not urlunsplit: it leaves out the // where there is no host, as with a socket's folder."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def _is_pool(value: object) -> bool:
    # By its shape, so that the configuration can be made without the driver.
    return all(hasattr(value, name) for name in ("acquire", "release", "get_size"))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PostgresConfig(CommonConfig):
    """How to reach PostgreSQL, 15 or later; as a URL: `postgresql://user@host/db?schema_name=jobs&sslmode=require`.

    Attributes:
        database_url: postgresql://user:password@host:port/database; None: the variable DATABASE_URL.
        password: instead of in the URL.
        min_connections, max_connections: of this storage's own pool.
        connect_timeout: seconds for a new connection, and for a free one of the pool.
        command_timeout: seconds for a statement.
        schema_name: the schema of the tables; stores of different schemas never see each other.
        auto_migrate: create or upgrade the schema at connect.
        sslmode, sslrootcert, sslcert, sslkey, sslcrl: TLS, as libpq spells it; None: what the URL or the driver says.
        statement_cache_size: prepared statements a connection; 0 behind pgbouncer in transaction mode.
        listen: keep one connection that LISTENs for new jobs; False behind pgbouncer, where `wait_for_jobs` polls.
        listen_url: the server itself, for that connection, where `database_url` is a pgbouncer.
        pool: your own asyncpg pool instead of all of the above that concerns connections; it is never closed here.
    """

    backend: ClassVar[str] = "postgres"

    database_url: str | None = option(Optional(Text()), default=None, url=False)
    password: str | None = option(Optional(Text()), default=None, secret=True)
    min_connections: int = option(Integer(0, 1000), default=1)
    max_connections: int = option(Integer(1, 1000), default=10)
    connect_timeout: float = option(Number(0.001, 3600), default=10.0)
    command_timeout: float = option(Number(0.001, 3600), default=30.0)
    schema_name: str = option(_SCHEMA_NAME, default="ferroq")
    auto_migrate: bool = option(Boolean(), default=False)
    sslmode: str | None = option(Optional(Choice(_SSL_MODES)), default=None)
    sslrootcert: str | None = option(Optional(Text()), default=None)
    sslcert: str | None = option(Optional(Text()), default=None)
    sslkey: str | None = option(Optional(Text()), default=None)
    sslcrl: str | None = option(Optional(Text()), default=None)
    statement_cache_size: int = option(Integer(0, 10_000), default=200)
    listen: bool = option(Boolean(), default=True)
    listen_url: str | None = option(Optional(Text()), default=None, secret=True)
    pool: Any = option(Optional(Instance(_is_pool, "an asyncpg pool")), default=None, url=False)

    def __post_init__(self) -> None:
        # Not super(): the dataclass is rebuilt for its slots, and the zero-argument form looks at the first one.
        CommonConfig.__post_init__(self)
        if self.min_connections > self.max_connections:
            raise self._error(
                f"min_connections must be at most max_connections ({self.max_connections}), not {self.min_connections}"
            )
        if self.pool is not None and self.database_url is not None:
            raise self._error("database_url must be left out where pool is given: the pool has its own")
        if self.schema_name.startswith("pg_"):
            raise self._error("schema_name must not begin with pg_: those names belong to the server")
        for name, url in (("database_url", self.database_url), ("listen_url", self.listen_url)):
            if url is not None:
                self._check_url(name, url)

    def _check_url(self, name: str, url: str) -> None:
        try:
            parts = split_url(url)
            if parts.scheme not in SCHEMES:
                raise Rejected("must be postgresql://…")
        except Rejected as error:
            raise self._error(f"{name} {error}") from None
        # Several hosts are allowed, as libpq spells them: h1:5432,h2:5433.
        for host in parts.netloc.rpartition("@")[2].split(","):
            port = host.rpartition("]")[2].partition(":")[2]
            if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
                raise self._error(f"{name} has a port that is no number of 1 to 65535")
        for option_name, _ in parse_qsl(parts.query, keep_blank_values=True):
            if option_name not in (*_TLS, *_ADDRESS):
                raise self._error(f"{name} has the option {option_name[:40]!r}, which is not for the driver")

    @classmethod
    def from_url(cls, url: str) -> Self:
        # What is the driver's stays in the address: libpq's way to name a socket's folder is an option, ?host=/run/x.
        try:
            parts = split_url(url)
        except Rejected as error:
            raise cls._error(str(error)) from None
        given = parse_qsl(parts.query, keep_blank_values=True)
        theirs = [(name, value) for name, value in given if name in _ADDRESS and name != "password"]
        if not theirs:
            return super(PostgresConfig, cls).from_url(url)
        ours = urlencode([(name, value) for name, value in given if (name, value) not in theirs])
        config = super(PostgresConfig, cls).from_url(_joined(parts.scheme, "", "", ours))
        return replace(config, database_url=_joined(parts.scheme, parts.netloc, parts.path, urlencode(theirs)))

    @classmethod
    def _from_address(cls, parts: SplitResult) -> dict[str, Any]:
        url = _joined(parts.scheme, parts.netloc, parts.path, "")
        # Nothing at all behind the scheme: DATABASE_URL.
        return {"database_url": url} if parts.netloc or parts.path.strip("/") else {}

    @classmethod
    def of_environment(cls) -> Self:
        """The default configuration."""
        return cls()

    def address(self, *, listening: bool = False) -> str:
        """The address to connect to.

        Raises:
            ConfigurationError: neither `database_url` nor the variable DATABASE_URL is set, or the variable is wrong.
        """
        if listening and self.listen_url is not None:
            return self.listen_url
        if self.database_url is not None:
            return self.database_url
        url = os.environ.get("DATABASE_URL")
        if not url:
            raise self._error("database_url is not given and the variable DATABASE_URL is not set")
        self._check_url("DATABASE_URL", url)
        return url

    def dsn(self, *, listening: bool = False) -> str:
        """The address, with the TLS fields as libpq spells them, for the driver."""
        parts = split_url(self.address(listening=listening))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in _TLS:
            value = getattr(self, name)
            if value is not None:
                query[name] = value
        return _joined("postgresql", parts.netloc, parts.path, urlencode(query))

    def secrets(self) -> list[str]:
        """What must not appear in any text."""
        found = [self.password] if self.password else []
        for url in (self.database_url, self.listen_url, os.environ.get("DATABASE_URL")):
            if url and "://" in url:
                try:
                    parts = split_url(url)
                    passwords = [parts.password, dict(parse_qsl(parts.query)).get("password")]
                except (Rejected, ValueError):
                    continue
                for password in filter(None, passwords):
                    found += [password, unquote(password)]
        return found

    def check_tls(self) -> None:
        """Reads the TLS files now, for a driver's complaint about them comes without the field's name.

        Raises:
            ConfigurationError: a file is missing or not what it should be.
        """
        import ssl  # only where TLS is asked for: it is a slow import

        context = ssl.create_default_context()
        try:
            if self.sslrootcert is not None and self.sslrootcert != "system":
                context.load_verify_locations(self.sslrootcert)
            if self.sslcert is not None:
                context.load_cert_chain(self.sslcert, self.sslkey)
        except (OSError, ssl.SSLError) as error:
            raise self._error(f"sslrootcert, sslcert or sslkey cannot be used: {type(error).__name__}") from error
