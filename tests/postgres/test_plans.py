"""Plans of the hot statements at 10^5 rows: index access in claim order, no sort of the backlog, no sequential scan.

Under fresh and stale statistics, for custom and generic plans. `FERROQ_PLAN_ROWS=1000000` widens it (make scale).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from ferroq.postgres import migrate
from ferroq.postgres.connection import PLANS
from ferroq.postgres.queries import Queries
from ferroq.postgres.records import written
from tests.contract.postgres_backend import PostgresBackend

pytestmark = pytest.mark.anyio

ROWS = int(os.environ.get("FERROQ_PLAN_ROWS", "100000"))
TABLES = ("job", "ready", "lease", "future", "done")
FRONT = (-(2**31), -(2**63), 0)
CLAIM = (0, 100, "w", "s", 1_000_000, 1, True, *FRONT)
FAR = 2**62


async def fill(connection: asyncpg.Connection, schema: str, share: float) -> None:
    """Rows of every table: a tenth each in lease and future, the rest ready and done; ids and seqs agree."""
    count = int(ROWS * share)
    await connection.execute(
        f"""
        INSERT INTO {schema}.job (seq, created_at, priority, max_retries, id, method, queue, arguments)
        SELECT s, 1, s % 3, 0, 'job-' || s, 'work', 'q' || s % 5, '[]' FROM generate_series(1, {2 * count}) s
          ON CONFLICT DO NOTHING;
        INSERT INTO {schema}.ready
        SELECT s, 1000000 + s, 1, ~(s % 3)::int, 1, 0, 0, 0, 0, NULL, NULL, NULL, 'q' || s % 5, NULL
          FROM generate_series(1, {count}) s WHERE s % 10 < 8 ON CONFLICT DO NOTHING;
        INSERT INTO {schema}.lease
        SELECT s, s, {FAR} + s, 1, 1, 1, 1, 1, 0, 0, false, NULL, NULL, NULL, 'w', 's'
          FROM generate_series(1, {count}) s WHERE s % 10 = 8 ON CONFLICT DO NOTHING;
        INSERT INTO {schema}.future
        SELECT s, {FAR} + s, 1, 0, 0, 0, 5, NULL, NULL, NULL, '{{}}'
          FROM generate_series(1, {count}) s WHERE s % 10 = 9 ON CONFLICT DO NOTHING;
        SELECT setval('{schema}.job_seq', {2 * count} + 1);
        INSERT INTO {schema}.done
        SELECT s, s, 1, 1, 0, 0, 2 + s % 3, 2, 1, s, '{{}}'
          FROM generate_series({count + 1}, {2 * count}) s ON CONFLICT DO NOTHING;
        """
    )


@pytest.fixture(params=["fresh", "stale"], scope="module")
def schema(request: Any, postgres_dsn: str) -> Iterator[str]:
    """A big store whose statistics are of now, or of when it had a thousandth of the rows. No test changes it."""
    schema = f"plan_{request.param}"
    asyncio.run(make(postgres_dsn, schema, request.param))
    yield schema
    asyncio.run(drop(postgres_dsn, schema))


async def drop(dsn: str, schema: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    await connection.close()


async def make(dsn: str, schema: str, statistics: str) -> None:
    await drop(dsn, schema)
    connection = await asyncpg.connect(dsn)
    try:
        await migrate.apply(connection, schema)
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = false)")
        if statistics == "stale":
            await fill(connection, schema, 0.001)
            for table in TABLES:
                await connection.execute(f"ANALYZE {schema}.{table}")
            for table in TABLES:
                await connection.execute(f"TRUNCATE {schema}.{table}")
        await fill(connection, schema, 1)
        if statistics == "fresh":
            for table in TABLES:
                await connection.execute(f"ANALYZE {schema}.{table}")
    finally:
        await connection.close()


def statements(queries: Queries) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """The hot statements, with arguments of a batch of 100."""
    ready = [s for s in range(1, 200) if s % 10 < 8][:100]
    leased = [s for s in range(1, 1100) if s % 10 == 8][:100]
    ids = [f"job-{s}" for s in leased]
    count = len(leased)
    none, ones = [None] * count, [1] * count
    new = [f"new-{place:03}" for place in range(100)]
    enqueue: tuple[Any, ...] = (
        0, True, 1, [], list(range(100)), new, ["work"] * 100, ["[]"] * 100, ones, ["q1"] * 100, [0] * 100, [0] * 100,
        [None] * 100, [None] * 100, [None] * 100, [0] * 100, ['{"enqueued_at":1}'] * 100, [None] * 100, [0] * 100,
    )  # fmt: skip
    settle: tuple[Any, ...] = (
        0, [], written(range(count)), written(leased), written(leased), written(ids), [2] * count,
        ["{}"] * count, none, [0] * count,
        [f"q{s % 5}" for s in leased], [s % 3 for s in leased], [0] * count, none, none, none,
    )  # fmt: skip
    replace: tuple[Any, ...] = (
        0, [], written(range(100)), written(ready), written([1] * 100), written(f"job-{s}" for s in ready), [4] * 100,
        ["{}"] * 100, [None] * 100, [0] * 100, [f"q{s % 5}" for s in ready], [s % 3 for s in ready], [0] * 100,
        [None] * 100, [None] * 100,
        [None] * 100,
    )  # fmt: skip
    one: tuple[Any, ...] = (["work"], ["[]"], ["q1"], [0], [0], [None], [None], [None])
    return {
        "enqueue": (queries.enqueue, enqueue),
        "enqueue_common": (queries.enqueue_common, (0, written(new), written([1] * 100), written([1] * 100), *one)),
        "claim_all 1": (queries.claim_all(1), (0, 1, *CLAIM[2:])),
        "claim_all 100": (queries.claim_all(100), CLAIM),
        "claim_all 1000": (queries.claim_all(1000), (0, 1000, *CLAIM[2:])),
        "claim_all behind a cursor": (queries.claim_all(100), (*CLAIM[:7], -2, 1_050_000, 50_000)),
        "claim_queue 1": (queries.claim_queue(1), (0, 1, *CLAIM[2:], "q1")),
        "claim_queue 100": (queries.claim_queue(100), (*CLAIM, "q1")),
        "claim_queue 1000": (queries.claim_queue(1000), (0, 1000, *CLAIM[2:], "q1")),
        "claim_queues 100": (queries.claim_queues(100), (*CLAIM, ["q1", "q2", "q4"], 100)),
        "settle": (queries.settle, settle),
        "settle, not kept": (queries.settle, (0, [2], *settle[2:])),
        "replace": (queries.replace, replace),
        "replace, not kept": (queries.replace, (0, [4], *replace[2:])),
        "release": (queries.release, (0, None, list(range(count)), leased, leased, ids)),
        "extend": (queries.extend, (0, 1, leased, leased, ids)),
        "hold": (queries.hold, (0, [f"job-{s}" for s in ready])),
        "remove": (queries.remove, (ready,)),
        "delete": (queries.delete, (ready, [f"job-{s}" for s in ready])),
        "get_many": (queries.get_many, ([f"job-{s}" for s in ready],)),
        "get": (queries.get, ("job-5",)),
        "takeover": (queries.takeover, (0, 100, 3)),
        "probe": (queries.probe, (0, None)),
        "probe of queues": (queries.probe, (0, ["q1", "nothing"])),
        "purge": (queries.purge, (0, [2, 3], 1, 100)),
        "available": (queries.available, (0, 100, 3, *FRONT)),
        "wave": (queries.wave, (0, 100, 3)),
        **{f"list {kind}": (queries.list[kind], (2**60, 100, None) + ((kind,) if kind not in (None, 0, 1) else ()))
           for kind in (None, 0, 1, 2, 5)},
        "lock_take": (queries.lock_take, (0, "job-5", "w", 1, 1)),
        "lock_touch": (queries.lock_touch, ("job-5",)),
        "lock_check": (queries.lock_check, (0, "job-5", 1)),
        "claim_free": (queries.claim_free, (0, "job-8", 8)),
        "lock_look": (queries.lock_look, (0, "job-8", "w")),
    }  # fmt: skip


def literal(value: Any) -> str:
    """A value as SQL spells it: the arguments of EXECUTE cannot be parameters."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return f"'{value}'".lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "ARRAY[" + ", ".join(map(literal, value)) + "]"


async def typed(connection: asyncpg.Connection, sql: str, arguments: tuple[Any, ...]) -> tuple[str, str]:
    """The types of the parameters, and the arguments as EXECUTE takes them."""
    types = [
        f"{kind.name.removesuffix('[]')}[]" if kind.kind == "array" else kind.name
        for kind in (await connection.prepare(sql)).get_parameters()
    ]
    given = ", ".join(f"{literal(value)}::{kind}" for value, kind in zip(arguments, types, strict=True))
    return ", ".join(types), given


async def nodes_of(connection: asyncpg.Connection, execute: str) -> list[dict[str, Any]]:
    """The nodes of the plan as it ran, rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        row = await connection.fetchrow(f"EXPLAIN (ANALYZE, FORMAT JSON) {execute}")
    finally:
        await transaction.rollback()
    assert row is not None
    nodes: list[dict[str, Any]] = []

    def walk(node: dict[str, Any]) -> None:
        nodes.append(node)
        for child in node.get("Plans", ()):
            walk(child)

    walk(json.loads(row[0])[0]["Plan"])
    return nodes


async def explained(connection: asyncpg.Connection, sql: str, arguments: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The nodes of a plan made now. By EXECUTE: only that goes through the cache of plans."""
    types, given = await typed(connection, sql, arguments)
    await connection.execute(f"PREPARE hot ({types}) AS {sql}")
    try:
        return await nodes_of(connection, f"EXECUTE hot ({given})")
    finally:
        await connection.execute("DEALLOCATE hot")


def complaints(name: str, nodes: list[dict[str, Any]]) -> list[str]:
    """What is wrong with a plan: it must not depend on the backlog."""
    wrong = []
    for node in nodes:
        kind, rows = node["Node Type"], node["Actual Rows"] * node["Actual Loops"]
        touched = rows + node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
        if kind == "Seq Scan" and node["Relation Name"] in TABLES:
            wrong.append(f"{name}: sequential scan of {node['Relation Name']}")
        if kind in ("Sort", "Incremental Sort") and rows > 3000:
            wrong.append(f"{name}: sorts {rows} rows")
        if touched > 6000:
            wrong.append(f"{name}: {kind} {node.get('Index Name', '')} touches {touched:.0f} rows")
        if node.get("Index Name") == "lease_lapse" and "seq" in node.get("Index Cond", ""):
            wrong.append(f"{name}: looks for claims in the index of lapses")
        if name.startswith("claim") and "Bitmap" in kind and node.get("Relation Name") == "ready":
            wrong.append(f"{name}: {kind} of ready instead of a walk in claim order")
    return wrong


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_no_plan_depends_on_the_backlog(backend: PostgresBackend, schema: str, mode: str) -> None:
    connection = await asyncpg.connect(
        backend.dsn, server_settings={"plan_cache_mode": mode}, max_cacheable_statement_size=0
    )
    wrong: list[str] = []
    try:
        for name, (sql, arguments) in statements(Queries(schema)).items():
            wrong += complaints(name, await explained(connection, sql, arguments))
    finally:
        await connection.close()
    assert not wrong, "\n".join(wrong)


async def test_a_plan_of_an_empty_table_serves_a_full_one(backend: PostgresBackend) -> None:
    """A worker that starts on an empty store keeps the plans it makes there; nobody runs ANALYZE before the flood."""
    schema = "plan_empty"
    await drop(backend.dsn, schema)
    filler = await asyncpg.connect(backend.dsn)
    await migrate.apply(filler, schema)
    for table in TABLES:
        await filler.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = false)")
        await filler.execute(f"VACUUM ANALYZE {schema}.{table}")
    connection = await asyncpg.connect(backend.dsn, max_cacheable_statement_size=0)
    try:
        await connection.execute(PLANS)
        prepared: dict[str, str] = {}
        for name, (sql, arguments) in statements(Queries(schema)).items():
            types, given = await typed(connection, sql, arguments)
            label = f"empty_{len(prepared)}"
            prepared[name] = f"EXECUTE {label} ({given})"
            await connection.execute(f"PREPARE {label} ({types}) AS {sql}")
            await connection.fetch(f"EXPLAIN {prepared[name]}")
        await fill(filler, schema, 1)
        wrong = []
        for name, execute in prepared.items():
            wrong += complaints(name, await nodes_of(connection, execute))
            generic = await connection.fetchval(
                "SELECT generic_plans FROM pg_prepared_statements WHERE name = $1", execute.split()[1]
            )
            assert generic == 2, f"{name} was planned anew"
    finally:
        await connection.close()
        await filler.close()
        await drop(backend.dsn, schema)
    assert not wrong, "\n".join(wrong)


async def test_a_claim_returns_and_takes_exactly_its_limit(backend: PostgresBackend, schema: str) -> None:
    connection = await asyncpg.connect(backend.dsn)
    queries = Queries(schema)
    transaction = connection.transaction()
    await transaction.start()
    try:
        for limit in (1, 7, 100, 1000):
            before = await connection.fetchval(f"SELECT count(*) FROM {schema}.ready")
            rows = await connection.fetch(queries.claim_all(limit), 0, limit, *CLAIM[2:])
            assert len([row for row in rows if row["id"] is not None]) == limit
            assert before - await connection.fetchval(f"SELECT count(*) FROM {schema}.ready") == limit
            keys = [(~row["priority"], row["due"], row["seq"]) for row in rows]
            assert keys == sorted(keys)
    finally:
        await transaction.rollback()
        await connection.close()
