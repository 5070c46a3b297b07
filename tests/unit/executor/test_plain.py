"""What a script hands over: bounded before it is written out, and storable."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from bson import encode
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.ending import OUTPUT_SIZE_BYTES_MAX, checked_output
from services.executor.core.plain import DEPTH_MAX, NotPlain, field_name, log_field, number, plain
from services.executor.limits import Limits, RunLimits

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
)


def bomb(levels: int) -> list[Any]:
    """A value of 2 ** levels leaves, in a few bytes of memory."""
    made: list[Any] = [0]
    for _ in range(levels):
        made = [made, made]
    return made


@given(VALUES)
def test_what_is_let_through_is_stored_and_comes_back(value: Any) -> None:
    try:
        kept = plain(value, size_bytes_max=10_000)
    except NotPlain:
        return
    assert json.loads(json.dumps(value)) == kept
    assert encode({"value": kept})
    assert len(json.dumps(kept)) <= 10_000


@given(VALUES, st.text())
def test_a_log_line_takes_anything(value: Any, name: str) -> None:
    assert encode({field_name(name): log_field(value)})


@pytest.mark.parametrize("levels", [25, 39, 500])
def test_a_bomb_is_measured_no_further_than_its_limit(levels: int) -> None:
    began = time.process_time()
    value, problem = checked_output({"a": bomb(levels)})
    assert value is None
    assert problem is not None
    assert time.process_time() - began < 2.0
    assert len(str(log_field(bomb(levels)))) < 100


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * (OUTPUT_SIZE_BYTES_MAX + 1), "at most"),
        (2**63, "64 bits"),
        ({"a\0": 1}, "NUL"),
        (float("nan"), "JSON"),
        (b"bytes", "JSON"),
    ],
)
def test_what_can_t_be_stored_says_why(value: Any, words: str) -> None:
    with pytest.raises(NotPlain, match=words):
        plain([value], size_bytes_max=OUTPUT_SIZE_BYTES_MAX)


def test_nesting_is_kept_up_to_its_limit() -> None:
    value: Any = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    assert plain(value, size_bytes_max=1000) == value
    with pytest.raises(NotPlain, match="deep"):
        plain([value], size_bytes_max=1000)


def test_a_number_is_finite() -> None:
    assert [number(one) for one in (1, 0.5, True, "1", float("inf"), 10**400)] == [1.0, 0.5, None, None, None, None]


def test_limits_say_what_to_change() -> None:
    limits = Limits(memory_bytes_max=64 * 2**20, turn_s=5.0, host_calls_max=7)
    assert "64 MB" in str(limits.said("MemoryError", ""))
    assert "more than 7 calls" in str(limits.said("RuntimeError", "suspension limit 7 exceeded"))
    assert "more than 5 s" in str(limits.said("TimeoutError", "turn time limit exceeded: 5.1s > 5s"))
    assert limits.said("TimeoutError", "TIMEOUT: it did not appear") is None
    run = RunLimits(instructions_max=2, host_calls_max=3, decisions_max=1)
    assert run.exceeded(calls=3) is None
    assert "3 calls" in str(run.exceeded(calls=4))
    assert run.refusal(instructions=1, decisions=1, asks=False) is None
    assert "1 questions" in str(run.refusal(instructions=1, decisions=1, asks=True))
    assert "2 instructions" in str(run.refusal(instructions=2, decisions=0, asks=False))
