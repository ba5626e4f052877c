"""Arguments: encoded once, and out again type for type [J3]."""

from __future__ import annotations

import collections
import decimal
import enum
import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from ferroq import Job, JobState
from ferroq.errors import InvalidJobDataError
from ferroq.testing.contract import promises
from ferroq.testing.contract.record import FIDELITY, nested
from ferroq.testing.contract.support import same


def result_of(value: Any) -> Any:
    state = JobState.succeeded(1, value)
    assert isinstance(state, JobState.Succeeded)
    return state.result


@promises("J3", "S1")
@pytest.mark.parametrize("case", FIDELITY)
def test_what_went_in_comes_out(case: str) -> None:
    assert same(Job("work", FIDELITY[case]).arguments, FIDELITY[case])
    if case != "deep":
        assert same(result_of(FIDELITY[case]), FIDELITY[case])


@promises("J3")
def test_every_character_survives() -> None:
    # All of Unicode but the surrogates, a plane at a time.
    for start in range(0, 0x110000, 0x10000):
        text = "".join(map(chr, (code for code in range(start, start + 0x10000) if not 0xD800 <= code <= 0xDFFF)))
        assert Job("work", [text, {text: None}]).arguments == [text, {text: None}]


@promises("J3")
def test_numbers_survive_to_the_last_bit() -> None:
    floats = [
        math.ldexp(mantissa, exponent) for mantissa in (1.0, 1.1, 1 / 3, 0.7) for exponent in range(-1074, 1023, 7)
    ]
    floats += [-value for value in floats]
    integers = [sign * 2**power + delta for power in range(64) for sign in (1, -1) for delta in (-1, 0, 1)]
    integers = [value for value in integers if -(2**63) <= value < 2**64]
    assert same(Job("work", floats).arguments, floats)
    assert same(Job("work", integers).arguments, integers)


@promises("J3", "J15")
def test_each_read_is_a_fresh_list() -> None:
    job = Job("work", [[1], {"a": [2]}])
    first = job.arguments
    first[0].append("more")
    first.clear()
    assert job.arguments == [[1], {"a": [2]}]
    assert job.arguments is not job.arguments


@promises("J3", "J15")
def test_what_was_given_may_change_afterwards() -> None:
    given: list[Any] = [[1], {"a": 2}]
    job = Job("work", given)
    given[0].append(3)
    given.append(4)
    assert job.arguments == [[1], {"a": 2}]


@promises("J3", "E2")
@pytest.mark.parametrize(
    "arguments", ["text", b"bytes", {"a": 1}, {1, 2}, 5, None, (x for x in [1]), range(3), object()]
)
def test_arguments_are_a_list_or_a_tuple(arguments: Any) -> None:
    with pytest.raises(TypeError, match="arguments"):
        Job("work", arguments)


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@promises("J3", "E2")
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**63) - 1,
        10**400,
        "\ud800",
        "a\udfffb",
        b"bytes",
        bytearray(b"x"),
        {1, 2},
        frozenset(),
        decimal.Decimal(1),
        datetime.now(UTC),
        1j,
        object(),
        Colour.RED,
        print,
        int,
        range(3),
        iter([1]),
        memoryview(b"x"),
        {1: "a"},
        {None: "a"},
        {("a",): "a"},
        {"\ud800": 1},
        nested(65),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_value_is_refused(value: Any) -> None:
    for wrapped in (value, [value], {"key": [value]}):
        with pytest.raises(InvalidJobDataError, match="arguments") as caught:
            Job("work", ["fine", wrapped])
        assert (caught.value.backend, caught.value.operation) == (None, None)
        with pytest.raises(InvalidJobDataError, match="result"):
            JobState.succeeded(1, [wrapped])


@promises("J3")
def test_sixty_four_levels_and_no_more() -> None:
    assert Job("work", [nested(64)]).arguments == [nested(64)]
    with pytest.raises(InvalidJobDataError, match="arguments"):
        Job("work", [nested(65)])
    endless: list[Any] = []
    endless.append(endless)
    loop: dict[str, Any] = {}
    loop["self"] = loop
    for value in (endless, [loop]):
        with pytest.raises(InvalidJobDataError, match="arguments"):
            Job("work", value)
    abyss: Any = 0
    for _ in range(100_000):
        abyss = [abyss]
    with pytest.raises(InvalidJobDataError, match="arguments"):
        Job("work", [abyss])
    while isinstance(abyss, list):
        abyss = abyss.pop()
    shared = [1]
    assert Job("work", [shared, shared, {"a": shared}]).arguments == [[1], [1], {"a": [1]}]


def never(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("a method of a subclass was called")


class EvilText(str):
    __str__ = __repr__ = __eq__ = __hash__ = __len__ = __iter__ = __getitem__ = encode = __format__ = never


class KeyText(str):
    """A key has to be hashable to get into a dict at all."""

    __str__ = __repr__ = __len__ = __iter__ = __getitem__ = encode = never


class EvilInt(int):
    __int__ = __index__ = __repr__ = __str__ = __eq__ = __lt__ = __bool__ = __abs__ = __neg__ = never
    __hash__ = never


class EvilFloat(float):
    __float__ = __repr__ = __str__ = __eq__ = __bool__ = __int__ = __hash__ = is_integer = never


class EvilList(list[Any]):
    __len__ = __iter__ = __getitem__ = __bool__ = __repr__ = __eq__ = copy = never


class EvilTuple(tuple[Any, ...]):
    __len__ = __iter__ = __getitem__ = __bool__ = __repr__ = __eq__ = __hash__ = never


class EvilDict(dict[str, Any]):
    __len__ = __iter__ = __getitem__ = __bool__ = __repr__ = keys = items = values = get = __contains__ = never


@promises("J3")
def test_subclasses_are_taken_by_value_and_never_called() -> None:
    arguments = [
        EvilText("text"),
        EvilInt(5),
        EvilInt(2**64 - 1),
        EvilFloat(-0.0),
        EvilList([1, EvilText("in")]),
        EvilTuple((1, 2)),
        EvilDict({KeyText("key"): EvilInt(1), "plain": None}),
    ]
    expected = ["text", 5, 2**64 - 1, -0.0, [1, "in"], [1, 2], {"key": 1, "plain": None}]
    assert same(Job("work", arguments).arguments, expected)
    assert same(Job("work", EvilList(arguments)).arguments, expected)
    assert same(Job("work", EvilTuple(arguments)).arguments, expected)
    assert same(result_of(EvilDict({"all": EvilList(arguments)})), {"all": expected})


@promises("J3")
def test_well_known_subclasses() -> None:
    class Number(enum.IntEnum):
        ONE = 1

    class Word(enum.StrEnum):
        YES = "yes"

    given = [
        Number.ONE,
        Word.YES,
        collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.defaultdict(list, {"a": [1]}),
        collections.Counter("aab"),
        Point(1, 2),
    ]
    assert same(Job("work", given).arguments, [1, "yes", {"b": 1, "a": 2}, {"a": [1]}, {"a": 2, "b": 1}, [1, 2]])


@promises("J3", "J14")
def test_size_is_no_matter_of_construction() -> None:
    text = "x" * 5_000_000
    assert Job("work", [text]).arguments == [text]
