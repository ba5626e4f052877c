"""What a backend's configuration is made of: kinds of options, addresses in URLs, and secrets in no text [C1, E4]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult

import pytest

from ferroq._options import Choice, Instance, Integer, Name, Optional, Rejected, Text, mask_text, mask_url, option
from ferroq.config import CommonConfig
from ferroq.errors import ConfigurationError
from ferroq.testing.contract import promises

HUGE = 1 << 20_000  # beyond any float, and beyond what `repr` agrees to print


class Pool:
    """Something that only Python can pass."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ServerConfig(CommonConfig):
    """As a server's backend would have it."""

    backend: ClassVar[str] = "server"

    url: str = option(Text(), default="server://localhost", url=False)
    password: str | None = option(Optional(Text()), default=None, secret=True)
    key_prefix: str = option(Name("[a-z]+", "letters"), default="ferroq")
    tls: str = option(Choice(("off", "on")), default="off")
    port: int = option(Integer(1, 65535), default=1234)
    pool: Pool | None = option(Instance(lambda value: isinstance(value, Pool), "a Pool"), default=None)

    @classmethod
    def _from_address(cls, parts: SplitResult) -> dict[str, Any]:
        if parts.path not in ("", "/"):
            raise Rejected("the URL must not have a path")
        found: dict[str, Any] = {"url": f"{parts.scheme}://{parts.netloc}"}
        return found if parts.port is None else {**found, "port": parts.port}


@promises("C1")
def test_a_url_gives_address_and_options() -> None:
    config = ServerConfig.from_url(
        "server://host:99/?key_prefix=app&password=none&keep_failed=none&tls=on&max_crashes=5"
    )
    assert config == ServerConfig(
        url="server://host:99", port=99, key_prefix="app", tls="on", max_crashes=5, password="none"
    )


@promises("C1", "E2")
@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("server://h?port=1e3", "port must be an int, not '1e3'"),
        ("server://h?port=1_000", "port must be an int, not '1_000'"),
        ("server://h?port=٣", "port must be an int"),
        ("server://h?port=65536", "port must be 1 to 65535, not 65536"),
        ("server://h:1?port=2", "port is given twice in the URL, in its address and as an option"),
        ("server://h?lock_timeout=1e400", "lock_timeout must be"),
        ("server://h?key_prefix=App", "key_prefix must be letters, not 'App'"),
        ("server://h?tls=maybe", "tls must be one of off, on, not 'maybe'"),
        ("server://h?pool=x", "unknown option 'pool'|pool cannot be given in a URL"),
        ("server://h?url=x", "unknown option 'url'"),
        ("server://h/path", "must not have a path"),
        ("server://h?tls", "name=value"),
        ("server://h?tls=on#x", "fragment"),
        ("server://h?key_prefix=%C3", "UTF-8"),
        ("server://[h", "cannot be read"),
        ("server:h", "scheme://"),
        ("server://h\n", "control characters"),
    ],
)
def test_what_a_url_must_not_say(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text.replace("+", r"\+")) as caught:
        ServerConfig.from_url(url)
    assert caught.value.backend == "server"


@promises("C1")
def test_an_unknown_option_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ServerConfig.from_url("server://h?prefix=x")
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert known == sorted(known)
    assert {"key_prefix", "password", "lock_timeout", "keep_failed"} <= set(known)
    assert "url" not in known


@promises("C1", "E2")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key_prefix", 5),
        ("tls", None),
        ("tls", ["on"]),
        ("password", 5),
        ("password", "a\x00b"),
        ("url", b"server://h"),
        ("pool", object()),
        ("port", HUGE),
        ("lock_timeout", HUGE),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_values_of_other_kinds_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field} must "):
        ServerConfig(**{field: value})  # type: ignore[arg-type]


@promises("C1", "E4")
def test_secrets_are_in_no_text() -> None:
    config = ServerConfig(url="server://me:hunter2@localhost", password="hunter2")
    for text in (repr(config), str(config), f"{config}"):
        assert "hunter2" not in text
        assert "server://me:***@localhost" in text
        assert "password='***'" in text
    assert "password=None" in repr(ServerConfig())
    for url in ("server://h?password=hunter2%00", "server://h?password=hunter2&tls=x", "server://h?password=hunter2&x"):
        with pytest.raises(ConfigurationError) as caught:
            ServerConfig.from_url(url)
        assert "hunter2" not in str(caught.value)


@promises("E4")
@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://me@localhost/0", "redis://me@localhost/0"),
        ("redis://:pw@localhost/0", "redis://:***@localhost/0"),
        ("redis://me:p/w?x@y@localhost:1/0?a=b", "redis://me:***@localhost:1/0?a=b"),
        (
            "redis+sentinel://me:pw@h1:1,h2:2/name?sentinel_password=pw",
            "redis+sentinel://me:***@h1:1,h2:2/name?sentinel_password=***",
        ),
        ("postgres:///db?user=me&password=p%26w&sslmode=on", "postgres:///db?user=me&password=***&sslmode=on"),
        ("postgres:///db?PGPASSWORD=pw", "postgres:///db?PGPASSWORD=***"),
        ("x://h?auth_token=t&api-secret=s", "x://h?auth_token=***&api-secret=***"),
    ],
)
def test_passwords_are_masked_in_urls(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@promises("E4")
def test_secrets_are_masked_in_a_drivers_words() -> None:
    text = "no user with secret2 or secret"
    assert mask_text(text, ["secret", "secret2", None, ""]) == "no user with *** or ***"
