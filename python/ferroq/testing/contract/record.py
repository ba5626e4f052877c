"""A record is what was put in: names, arguments, fields, metadata, sizes [J1 - J7, J14, Q2, Q3]."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ferroq import Job, JobState
from ferroq.errors import InvalidJobDataError, PayloadTooLargeError
from ferroq.storage import Storage

from .backend import ContractBackend
from .promises import promises
from .support import LONG, SHORT, A, claim, held, names, put, refused, same, settle, stored, utc

ODD_NAMES = [
    "a b",
    " a",
    "a ",
    "A",
    "a",
    "a:b",
    "a/b",
    "{a}",
    "*",
    "a*",
    "[a]",
    "?",
    "%s",
    "%",
    "$1",
    "'; DROP TABLE job; --",
    '"',
    "\\",
    "\\x00",
    "null",
    "0",
    "00",
    "-1",
    "1e3",
    "\u00a0",
    "\u2028",
    "\ufeff",
    "\ue000",
    "\U0010ffff",
    "\U0001f980",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "ſ",
    "s",
    "ß",
    "ss",
    "x" * 255,
    "é" * 127,
]


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


FIDELITY: dict[str, Any] = {
    "nothing": [],
    "none": [None],
    "booleans": [True, False, 1, 0],
    "empty": [[], {}, "", [[]], {"a": {}}, [{}]],
    "integers": [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1],
    "floats": [1.0, 0.0, -0.0, 0.1, 1e16, 1e22, 1e300, 5e-324, 1.7976931348623157e308, -2.5, float(2**53), 1 / 3],
    "one is not one": [1, 1.0, True, "1"],
    "zero": ["a\u0000b", "\u0000"],
    "controls": ["".join(map(chr, range(32))), "\x7f\x85"],
    "text": ['"', "\\", "\\u0000", "/", "</script>", "\u2028\u2029", "\ufeff", "\uffff", "\U0010ffff", "é", "e\u0301"],
    "looks like json": ["null", "[]", '{"a":1}', "NaN", "1e5"],
    "order of keys": [{"b": 1, "a": 2, "": 3, "B": 4, "é": 5, "\u0000": 6, "10": 7, "9": 8}],
    "deep": [nested(64)],
    "wide": [list(range(5000)), {str(index): index for index in range(500)}],
}


class RecordContract:
    """What is stored is what was given, on every way out."""

    @promises("J3", "Q2")
    @pytest.mark.parametrize("case", FIDELITY)
    async def test_arguments_come_back_type_for_type(self, storage: Storage, case: str) -> None:
        arguments = FIDELITY[case]
        await storage.enqueue(Job("work", arguments, id="one"))
        await storage.enqueue_many([Job("work", arguments, id="many")])
        for job_id in ("one", "many"):
            assert same((await stored(storage, job_id)).arguments, arguments)
        assert all(same(job.arguments, arguments) for job in await storage.list())
        claimed = await storage.fetch_available_jobs_atomic(A)
        assert len(claimed) == 2
        for job in claimed:
            assert same(job.arguments, arguments)
            await settle(storage, job)
            assert same((await stored(storage, job.id)).arguments, arguments)

    @promises("J3", "S1")
    async def test_a_result_comes_back_type_for_type(self, storage: Storage) -> None:
        for case, value in FIDELITY.items():
            if case == "deep":
                continue
            job = Job("work", state=JobState.succeeded(3, value))
            await storage.enqueue(job)
            state = (await stored(storage, job.id)).state
            assert isinstance(state, JobState.Succeeded)
            assert same(state.result, value)

    @promises("J3")
    async def test_tuples_come_back_as_lists(self, storage: Storage) -> None:
        await storage.enqueue(Job("work", (1, (2, (3,)), {"a": ()}), id="x"))
        assert same((await stored(storage, "x")).arguments, [1, [2, [3]], {"a": []}])

    @promises("J1", "J2", "Q2", "Q9")
    async def test_ids_are_compared_byte_for_byte(self, storage: Storage) -> None:
        for name in ODD_NAMES:
            assert await storage.enqueue(Job(name, id=name)) is True
        assert len(await storage.list()) == len(ODD_NAMES)
        for name in ODD_NAMES:
            job = await stored(storage, name)
            assert (job.id, job.method) == (name, name)
        for missing in ("A ", "B", "Ss", "É", "x" * 254, "é" * 126, "*a"):
            assert await storage.get(missing) is None
            assert await storage.delete(missing) is False
        # Locks on ids keep them apart in the same way.
        for name in ODD_NAMES:
            assert await storage.try_acquire_job_lock(name, A, LONG) is True
        for name in ODD_NAMES:
            assert await storage.release_job_lock(name, A) is True
        for name in ODD_NAMES:
            assert await storage.delete(name) is True

    @promises("J6", "Q22", "Q5")
    async def test_queues_are_compared_byte_for_byte(self, storage: Storage) -> None:
        for name in ODD_NAMES:
            await storage.enqueue(Job("work", id=name, queue=name))
        for name in ODD_NAMES:
            assert names(await storage.list(queue=name)) == [name]
            [job] = await storage.fetch_available_jobs_atomic(A, 10, [name], lock_timeout=LONG)
            assert (job.id, job.queue) == (name, name)
        assert await storage.fetch_and_lock_job(A) is None

    @promises("Q8", "L6", "J11")
    async def test_workers_are_compared_byte_for_byte(self, storage: Storage) -> None:
        for name in ODD_NAMES:
            await put(storage, name)
            job = await claim(storage, name)
            assert held(job).worker_id == name
            assert isinstance(job.state, JobState.Processing)
            assert job.state.worker_id == name
        composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
        assert await storage.release_job_lock(composed, decomposed) is False
        assert await storage.release_job_lock(composed, composed) is True

    @promises("J4", "J6", "J7", "Q2", "Q1")
    async def test_all_fields_come_back(self, storage: Storage) -> None:
        job = Job(
            "send",
            ["a"],
            id="x",
            queue="mail",
            priority=-(2**31),
            max_retries=2**31 - 1,
            metadata={"tenant": "a\u0000b", "ключ": "", "long": "v" * 5000},
            job_type="kind of",
            timeout_seconds=2**31 - 1,
        )
        await storage.enqueue(job)
        back = await stored(storage, "x")
        assert (back.method, back.queue, back.priority, back.max_retries) == ("send", "mail", -(2**31), 2**31 - 1)
        assert back.metadata == {"tenant": "a\u0000b", "ключ": "", "long": "v" * 5000}
        assert (back.job_type, back.timeout_seconds) == ("kind of", 2**31 - 1)
        assert back.created_at == job.created_at
        assert back.created_at.utcoffset() == timedelta(0)
        assert back == job
        bare = Job("work", id="y", priority=2**31 - 1)
        await storage.enqueue(bare)
        back = await stored(storage, "y")
        assert (back.queue, back.priority, back.max_retries) == ("default", 2**31 - 1, 0)
        assert (back.metadata, back.job_type, back.timeout_seconds) == ({}, None, None)

    @promises("S1", "Q28")
    async def test_all_fields_of_states_come_back(self, storage: Storage) -> None:
        when = utc(2254, 12, 31, 23, 59, 59, 999999)
        early = utc(1970, 1, 1)
        states = [
            JobState.succeeded(0),
            JobState.succeeded(2**31 - 1, ""),
            JobState.failed("a\u0000b"),
            JobState.failed("", "", 2**31 - 1),
            JobState.deleted(),
            JobState.deleted(""),
            JobState.scheduled(when),
            JobState.scheduled(early, "é"),
            JobState.awaiting_retry(when, 1, "x" * 60_000),
            JobState.processing("w\u2028", "s e"),
        ]
        for state in states:
            job = Job("work", state=state)
            await storage.enqueue(job)
            assert (await stored(storage, job.id)).state == state

    @promises("J6", "J7", "Q3")
    async def test_an_update_stores_every_assignable_field(self, storage: Storage) -> None:
        job = Job("work", [1], id="x", metadata={"gone": "1", "kept": "2"}, job_type="t", timeout_seconds=5)
        await storage.enqueue(job)
        job.queue, job.priority, job.max_retries, job.job_type, job.timeout_seconds = "other", -7, 3, None, None
        del job.metadata["gone"]
        job.metadata["new"] = "3"
        assert (await stored(storage, "x")).queue == "default"
        await storage.update(job)
        back = await stored(storage, "x")
        assert back == job
        assert (back.queue, back.priority, back.max_retries) == ("other", -7, 3)
        assert (back.job_type, back.timeout_seconds) == (None, None)
        assert back.metadata == {"kept": "2", "new": "3"}
        state = back.state
        assert isinstance(state, JobState.Enqueued)
        assert state.queue == "other"

    @promises("Q3", "J3", "J4", "J2")
    async def test_what_was_enqueued_stays(self, backend: ContractBackend, storage: Storage) -> None:
        original = Job("work", ["original"], id="x")
        await storage.enqueue(original)
        # Another object that says version 1 of the same id: it got that from another store.
        elsewhere = await backend.open()
        impostor = Job("other", ["impostor"], id="x", priority=4)
        await elsewhere.enqueue_many([Job("filler"), impostor])
        assert impostor.version == original.version
        await storage.update(impostor)
        back = await stored(storage, "x")
        assert (back.method, back.arguments, back.created_at) == ("work", ["original"], original.created_at)
        assert (back.priority, back.version, back.sequence) == (4, 2, original.sequence)
        assert (impostor.version, impostor.sequence) == (2, original.sequence)

    @promises("J6", "Q3", "Q5", "Q22")
    async def test_the_queue_lives_on_in_every_state(self, storage: Storage) -> None:
        await put(storage, "x", queue="mail")
        job = await claim(storage, queues=["mail"])
        assert job.queue == "mail"
        await settle(storage, job, JobState.failed("no"))
        assert names(await storage.list(queue="mail")) == ["x"]
        job.set_state(JobState.enqueued("web"))
        assert job.queue == "web"
        await storage.update(job)
        assert names(await storage.list(queue="web")) == ["x"]
        assert await storage.list(queue="mail") == []
        assert (await claim(storage, queues=["web"])).id == "x"

    @promises("J13", "J11", "L3")
    async def test_a_claim_travels_with_copies_and_pickles(self, storage: Storage) -> None:
        await put(storage, *"abc", metadata={"k": "v"})
        ways: list[Callable[[Job], Job]] = [copy.copy, copy.deepcopy, lambda job: pickle.loads(pickle.dumps(job))]
        for make in ways:
            job = await claim(storage)
            twin = make(job)
            assert twin == job == await stored(storage, job.id)
            assert held(twin).token == held(job).token
            await settle(storage, twin)
            assert twin == await stored(storage, job.id)
            assert twin != job
            assert held(job).worker_id == A, "its copy's life is not its own"

    # ------------------------------------------------------------------ sizes

    @promises("J14", "C1")
    async def test_a_payload_has_a_limit_in_bytes(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_payload_bytes=1000)
        # `["…"]` is four bytes around the text; é is two bytes, however JSON might spell it.
        for fits in ("x" * 990, "é" * 495):
            assert await storage.enqueue(Job("work", [fits]))
        for large in ("x" * 997, "é" * 499, "\U0001f980" * 250):
            error = await refused(backend, storage, PayloadTooLargeError, "enqueue", Job("work", [large]))
            assert "1000" in str(error)

    @promises("J14", "J7")
    async def test_metadata_counts_too(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_payload_bytes=1000)
        job = Job("work", ["x" * 500], id="x", metadata={"k": "v" * 400})
        await storage.enqueue(job)
        job.metadata["more"] = "v" * 200
        await refused(backend, storage, PayloadTooLargeError, "update", job)
        [verdict] = await storage.update_many([job])
        assert type(verdict) is PayloadTooLargeError
        del job.metadata["more"]
        await storage.update(job)
        assert job.version == 2

    @promises("J14", "S1")
    async def test_a_result_has_the_same_limit(self, backend: ContractBackend) -> None:
        storage = await backend.open(max_payload_bytes=1000)
        await put(storage, "x")
        job = await claim(storage)
        job.set_state(JobState.succeeded(1, "x" * 1000))
        await refused(backend, storage, PayloadTooLargeError, "update", job)
        # To the byte: a text is two more than its characters.
        for fits, count in [(True, 998), (False, 999)]:
            done = Job("work", state=JobState.succeeded(1, "x" * count))
            if fits:
                assert await storage.enqueue(done)
            else:
                await refused(backend, storage, PayloadTooLargeError, "enqueue", done)
        done = Job("work", ["x" * 900], state=JobState.succeeded(1, "x" * 900))
        assert await storage.enqueue(done)

    @promises("J14", "J7")
    async def test_metadata_has_at_most_256_keys(self, backend: ContractBackend, storage: Storage) -> None:
        job = Job("work", id="x", metadata={f"k{index}": "" for index in range(256)})
        await storage.enqueue(job)
        assert len((await stored(storage, "x")).metadata) == 256
        job.metadata["one more"] = ""
        await refused(backend, storage, PayloadTooLargeError, "update", job)
        fresh = Job("work")
        fresh.metadata.update({f"k{index}": "" for index in range(257)})
        await refused(backend, storage, PayloadTooLargeError, "enqueue", fresh)

    @promises("J7", "E2")
    async def test_metadata_changed_in_place_is_checked(self, backend: ContractBackend, storage: Storage) -> None:
        stored_job = Job("work", id="x")
        await storage.enqueue(stored_job)
        bad: list[dict[Any, Any]] = [
            {"": "empty key"},
            {"k" * 256: "long key"},
            {"\n": "control"},
            {"\ud800": "surrogate"},
            {1: "no text"},
            {"value": 1},
            {"value": None},
            {"value": "\udfff"},
            {"value": b"bytes"},
        ]
        for metadata in bad:
            for job, operation in [(Job("work"), "enqueue"), (stored_job, "update")]:
                job.metadata.clear()
                job.metadata.update(metadata)
                error = await refused(backend, storage, InvalidJobDataError, operation, job)
                assert "metadata" in str(error)

    @promises("Q28", "L4")
    async def test_times_are_whole_microseconds_in_utc(self, backend: ContractBackend, storage: Storage) -> None:
        await put(storage, "x")
        job = await claim(storage, lock_timeout=SHORT)
        state = job.state
        assert isinstance(state, JobState.Processing)
        assert state.started_at.utcoffset() == held(job).expires_at.utcoffset() == timedelta(0)
