"""The configuration of a `RedisStorage` [C3], and where it says that the server is."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final
from urllib.parse import SplitResult, unquote

from .._options import Boolean, Integer, Name, Number, Optional, Rejected, Text, option, split_url
from ..config import CommonConfig
from .keys import PREFIX_PATTERN

SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
_DEFAULT_URL: Final = "redis://localhost:6379"


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says, its query apart."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int | None = None
    username: str | None = None
    password: str | None = None


def _host(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        host, separator, port = text[1:].partition("]")
        port = port.removeprefix(":")
        if not separator:
            raise Rejected("has an IPv6 address without its ]")
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Rejected("has a port that is not 1 to 65535")
    return unquote(host) or "localhost", int(port) if port else default


def _database(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise Rejected("must end in the number of a database, such as /0")
    return int(text)


def address_of(parts: SplitResult) -> Address:
    """Reads a URL of one of the five schemes; `Rejected` for what it cannot mean."""
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        raise Rejected(f"has none of the schemes {', '.join(SCHEMES)}")
    userinfo, _, netloc = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    login = replace(Address(scheme), username=unquote(user) or None, password=unquote(password) or None)
    if scheme == "unix":
        if netloc or not parts.path.strip("/"):
            raise Rejected("must be unix:///path/of/the/socket")
        return replace(login, path=unquote(parts.path))
    default = 26379 if scheme == "redis+sentinel" else 6379
    hosts = tuple(_host(host, default) for host in netloc.split(","))
    path = parts.path.strip("/")
    if scheme == "redis+sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise Rejected("must name the service: redis+sentinel://host:26379/service")
        return replace(login, hosts=hosts, service=unquote(service), database=_database(database))
    if scheme == "redis+cluster":
        if path not in ("", "0"):
            raise Rejected("a cluster has database 0 only")
        return replace(login, hosts=hosts)
    if len(hosts) > 1:
        raise Rejected("names several hosts; redis+sentinel:// and redis+cluster:// take that")
    return replace(login, hosts=hosts, database=_database(path))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class RedisConfig(CommonConfig):
    """The configuration of a `RedisStorage`; every field but `url` may stand in the URL's query.

    Attributes:
        url: `redis://`, `rediss://` (TLS), `unix://`, `redis+sentinel://host,host/service`, `redis+cluster://host,host`;
            `REDIS_URL`, else redis://localhost:6379.
        key_prefix: the store's name on the server: two prefixes never see each other.
        pool_size: how many connections at most, the one that waits for jobs apart.
        connection_timeout: seconds for a connection to be made, or to come free.
        command_timeout: seconds for an answer, retries included.
        username, password: where the URL has none; they win over the URL's.
        db: the database's number, where the URL has none.
        sentinel_username, sentinel_password: for the sentinels themselves.
        tls: over redis+sentinel:// and redis+cluster://; rediss:// has it anyway.
        tls_ca_file, tls_cert_file, tls_key_file: PEM files; the system's authorities when there is none.
        tls_verify: whether the server's certificate is checked.
        tls_check_hostname: whether it must be for the host's name.
    """

    backend: ClassVar[str] = "redis"

    url: str = option(Text(), default_factory=lambda: os.environ.get("REDIS_URL") or _DEFAULT_URL, url=False)
    key_prefix: str = option(Name(PREFIX_PATTERN, "1 to 64 of A-Za-z0-9_.:-"), default="ferroq")
    pool_size: int = option(Integer(1, 10_000), default=16)
    connection_timeout: float = option(Number(0.001, 3600), default=5)
    command_timeout: float = option(Number(0.001, 3600), default=5)
    username: str | None = option(Optional(Text()), default=None)
    password: str | None = option(Optional(Text()), default=None, secret=True)
    db: int | None = option(Optional(Integer(0, 99_999)), default=None)
    sentinel_username: str | None = option(Optional(Text()), default=None)
    sentinel_password: str | None = option(Optional(Text()), default=None, secret=True)
    tls: bool = option(Boolean(), default=False)
    tls_ca_file: str | None = option(Optional(Text()), default=None)
    tls_cert_file: str | None = option(Optional(Text()), default=None)
    tls_key_file: str | None = option(Optional(Text()), default=None)
    tls_verify: bool = option(Boolean(), default=True)
    tls_check_hostname: bool = option(Boolean(), default=True)

    def __post_init__(self) -> None:
        CommonConfig.__post_init__(self)  # `super()` does not find its class in a dataclass with slots
        try:
            parts = split_url(self.url)
            if parts.query:
                raise Rejected("has options behind its ?; RedisConfig.from_url reads those")
            address = address_of(parts)
        except Rejected as error:
            raise self._error(f"url {error}") from None
        self._check(address)

    def _check(self, address: Address) -> None:
        """No field without an effect."""
        secure = self.tls or address.scheme == "rediss"
        if self.tls and address.scheme in ("redis", "unix"):
            raise self._error(f"tls has no effect on {address.scheme}://; write rediss://")
        if not secure:
            for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
                if getattr(self, name) is not None:
                    raise self._error(f"{name} has no effect without TLS")
            if not self.tls_verify or not self.tls_check_hostname:
                name = "tls_check_hostname" if self.tls_verify else "tls_verify"
                raise self._error(f"{name} has no effect without TLS")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise self._error("tls_cert_file and tls_key_file go together")
        if address.scheme != "redis+sentinel":
            for name in ("sentinel_username", "sentinel_password"):
                if getattr(self, name) is not None:
                    raise self._error(f"{name} has no effect without redis+sentinel://")
        if self.db is not None:
            if address.database is not None:
                raise self._error("db is given twice, as an option and in the URL's path")
            if address.scheme == "redis+cluster" and self.db != 0:
                raise self._error("db must be 0 on a cluster")

    @classmethod
    def from_environment(cls) -> RedisConfig:
        """By the URL in `REDIS_URL`, which may have options, or of defaults."""
        url = os.environ.get("REDIS_URL")
        return cls.from_url(url) if url else cls()

    @classmethod
    def _from_address(cls, parts: SplitResult) -> dict[str, Any]:
        address_of(parts)
        # Not `geturl()`, which drops the slashes in front of a path without a host.
        return {"url": f"{parts.scheme}://{parts.netloc}{parts.path}"}

    @property
    def address(self) -> Address:
        """Where the server is, by the URL."""
        return address_of(split_url(self.url))
