"""Loads the SQL: one statement a file under `sql/`, and the only place where anything is put into its text.

What is put in is never a value: the quoted schema, the one expression that reads the clock, conditions that several
statements share, and the parts that `claim.sql` and `list.sql` are made of. Values are parameters.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
# $1 is 0 outside tests: the offset by which a test moves the clock, in the one place that reads it.
_NOW = f"({_CLOCK} + $1::bigint)"

# No live explicit lock on the job. The table of locks is almost always empty, and `locks.live` says so once a
# statement; only otherwise is the id of a candidate looked up.
_IS_FREE = (
    "(NOT (SELECT live FROM locks) OR NOT EXISTS (SELECT FROM {schema}.explicit_lock x"
    " WHERE x.expires_at > (SELECT now FROM clock)"
    " AND x.id = (SELECT k.id FROM {schema}.job k WHERE k.seq = %s.seq)))"
)
# Whether something came due or lapsed. Ordered and limited: a plain EXISTS is planned as a sequential scan, since
# a third of the rows is expected to match, and reads all of them where none does.
_FIRST_DUE = "SELECT f.due FROM {schema}.future f WHERE f.due <= (SELECT now FROM clock) ORDER BY f.due LIMIT 1"
_FIRST_LAPSED = (
    "SELECT l.seq FROM {schema}.lease l"
    " WHERE NOT l.parked AND l.expires_at <= (SELECT now FROM clock) AND {lease_is_free}"
    " ORDER BY l.expires_at, l.seq LIMIT 1"
)

# Dead index entries that this session's statements have met: those they read, less those whose rows they saw. What a
# claim waded through tells whether dead ones pile up. A count, where a duration would mistake a busy machine for it.
# Those that an earlier scan marked as dead are not read one by one any more, but stay in the index until a vacuum. Of
# them only the pages can be counted: each as {page} entries, which rows on it that were seen take back.
# Needs track_counts, as autovacuum does.
_WADED_SO_FAR = "({})".format(
    " + ".join(
        f"pg_stat_get_xact_tuples_returned('{{schema}}.{index}'::regclass)"
        f" - pg_stat_get_xact_tuples_fetched('{{schema}}.{index}'::regclass) * (100 + {{page}}) / 100"
        f" + pg_stat_get_xact_blocks_fetched('{{schema}}.{index}'::regclass) * {{page}}"
        for index in ("{walked}", "future_due", "lease_lapse")
    )
)
# Of several queues: fewer jobs were taken than seen, and some queue may hold more than was looked at.
_MORE = "n.taken < (SELECT count(*) FROM heads) AND (SELECT count(*) FROM heads) >= $12"
# The last microsecond of 2254, the latest instant that a job may carry.
MAX_TIME = 8_993_721_599_999_999
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")


def quoted(schema: str) -> str:
    """The schema as an identifier; the one place where a name enters SQL text."""
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"schema_name {schema!r} is not 1 to 48 of a-z, 0-9 and _, with no digit first")
    return f'"{schema}"'


@cache
def _text(name: str) -> str:
    """A file without its header, which need not travel to the server."""
    text = files(__package__).joinpath("sql", f"{name}.sql").read_text("utf-8")
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()


class Queries:
    """All statements, for one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = quoted(schema)
        self.enqueue = self._load("enqueue", on_conflict="")
        self.enqueue_skip = self._load("enqueue", on_conflict="ON CONFLICT (id) DO NOTHING")
        self.enqueue_common = self._load("enqueue_common")
        self._claim_all = self._claims("all")
        self._claim_queue = self._claims("queue")
        self._claim_queues = self._claims("queues")
        self.claimed_by = self._load("claimed_by")
        self.takeover = self._load("takeover")
        self.doomed_lock = self._load("doomed_lock")
        self.doomed_fail = self._load("doomed_fail")
        self.existing = self._load("existing")
        self.bury = self._load("bury")
        self.settle = self._load("settle")
        self.replace = self._load("replace")
        self.release = self._load("release")
        self.extend = self._load("extend")
        self.hold = self._load("hold")
        self.remove = self._load("remove")
        self.put = self._load("put")
        self.delete = self._load("delete")
        self.get = self._load("get")
        self.get_many = self._load("get_many")
        self.unpark = self._load("unpark")
        self.list = {kind: self._load("list", walk=_text(f"walk_{walk}")) for kind, walk in _WALKS.items()}
        self.skip = {kind: self._load("skip", walk=_text(f"walk_{walk}")) for kind, walk in _WALKS.items()}
        self.counts = self._load("counts")
        self.available = self._load("available")
        self.wave = self._load("wave")
        self.probe = self._load("probe")
        self.lock_take = self._load("lock_take")
        self.lock_touch = self._load("lock_touch")
        self.lock_check = self._load("lock_check")
        self.lock_undo = self._load("lock_undo")
        self.lock_look = self._load("lock_look")
        self.lock_free = self._load("lock_free")
        self.claim_free = self._load("claim_free")
        self.guard = self._load("guard")
        self.unguard = self._load("unguard")
        self.purge = self._load("purge")
        self.notify = self._load("notify")
        self.notify_within = self._load("notify_within")
        self.token_raise = self._load("token_raise")
        self.versions = self._load("versions")
        self.verify = self._load("verify")

    def claim_all(self, limit: int) -> str:
        return self._claim_all[_cap(limit)]

    def claim_queue(self, limit: int) -> str:
        return self._claim_queue[_cap(limit)]

    def claim_queues(self, reach: int) -> str:
        return self._claim_queues[_cap(reach)]

    def _claims(self, pick: str) -> dict[int, str]:
        parts = {
            "pick": _text(f"pick_{pick}"),
            "more": _MORE if pick == "queues" else "false",
            "waded_so_far": _WADED_SO_FAR.replace("{walked}", "ready_order" if pick == "all" else "ready_queue_order"),
            # Many queues make many short walks, of some pages each, dead entries or not.
            "page": "0" if pick == "queues" else "25",
        }
        one, many = _text("take_one"), _text("take_many")
        return {cap: self._load("claim", take=one if cap == 1 else many, **parts, cap=str(cap)) for cap in _CAPS}

    def _load(self, name: str, **parts: str) -> str:
        text = _text(name)
        shared = {
            "first_due": _FIRST_DUE,
            "first_lapsed": _FIRST_LAPSED,
            "ready_is_free": _IS_FREE % "r",
            "lease_is_free": _IS_FREE % "l",
            "now": _NOW,
            "clock": _CLOCK,
            "max_time": str(MAX_TIME),
            "schema": self._schema,
        }
        for part, value in [*parts.items(), *shared.items()]:
            text = text.replace("{" + part + "}", value)
        return text


# The constant limits for which a claim is planned: the next one above what is asked for. A plan for 1,000 would sort a
# backlog of some thousands rather than walk along its head.
_CAPS = (1, 10, 100, 1_000, 10_000)


def _cap(limit: int) -> int:
    return next(cap for cap in _CAPS if limit <= cap)


# The walk that finds the jobs of a kind, newest first; None is every kind.
_WALKS: dict[int | None, str] = {
    None: "all",
    0: "enqueued",
    1: "processing",
    2: "done",
    3: "done",
    4: "done",
    5: "future",
    6: "future",
}
