"""What a server's own settings mean for jobs that must not be lost: looked at once, at connect."""

from __future__ import annotations

from collections.abc import Mapping

OLDEST = (7, 0)


def facts(info: bytes) -> dict[str, str]:
    """The lines of INFO."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, separator, value in lines if separator}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def complaints(info: Mapping[str, str], config: Mapping[str, str]) -> list[str]:
    """One sentence for each setting that can lose jobs.

    Args:
        info: `facts` of INFO.
        config: what CONFIG GET gave, or nothing where it is not allowed.
    """
    found = []
    version = info.get("redis_version", "")
    if _version(version) < OLDEST:
        found.append(f"the server is version {version or 'unknown'}; 7.0 is the oldest that will do")
    policy = config.get("maxmemory-policy", info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: a full server will drop jobs; set it to noeviction")
    if info.get("role", "master") != "master":
        found.append("the server is a replica: it takes no writes")
    if info.get("aof_enabled") == "0":
        found.append("appendonly is off: a restart loses the jobs since the last snapshot")
    elif config.get("appendfsync") == "no":
        found.append("appendfsync is no: a crash of the machine loses what the system had not written yet")
    return found
