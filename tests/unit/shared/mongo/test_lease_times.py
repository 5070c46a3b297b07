"""How long a counter stood still, as one reader saw it: pure, against a slow and obvious model."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from shared.mongo import first_line
from shared.mongo.guarded import FAILOVER_CODES, is_transient
from shared.mongo.indexes import COLLECTIONS, INDEXES, Index
from shared.mongo.lease import StillTimes

LOOKS = st.lists(st.tuples(st.floats(0, 20), st.booleans()), min_size=1, max_size=40)


@given(LOOKS)
def test_only_time_between_looks_counts_up_to_the_cap(looks: list[tuple[float, bool]]) -> None:
    times, at_s, counter, since = StillTimes(gap_counted_s_max=1.0), 0.0, 0, []
    for gap_s, moved in looks:
        at_s += gap_s
        counter += moved
        since = [] if moved or not since else since
        since.append(at_s)
        expected = sum(min(b - a, 1.0) for a, b in pairwise(since))
        assert abs(times.look("x", 1, counter, at_s) - expected) < 1e-6


def test_raised_token_counts_as_moving() -> None:
    times = StillTimes()
    times.look("x", 1, 5, 0)
    assert times.look("x", 1, 5, 0.5) == 0.5
    assert times.look("x", 2, 5, 1.0) == 0


def test_forgotten_leases_begin_anew() -> None:
    times = StillTimes()
    times.look("x", 1, 5, 0)
    times.keep_only({"y"})
    assert times.look("x", 1, 5, 0.5) == 0


def test_errors_of_transport_are_told_from_others() -> None:
    for error in (AutoReconnect("x"), ServerSelectionTimeoutError("x"), ExecutionTimeout("x", 50)):
        assert is_transient(error)
    assert all(is_transient(OperationFailure("x", code)) for code in FAILOVER_CODES)
    assert not is_transient(DuplicateKeyError("x", 11000))
    assert not is_transient(OperationFailure("x", 2))
    assert not is_transient(ValueError("x"))


def test_texts_for_the_log_are_short() -> None:
    assert first_line(AutoReconnect("host:1: refused, Timeout: 5s, Topology Description: <...>")) == "host:1: refused"
    assert first_line(ValueError()) == "ValueError"


def test_index_names_are_unique_in_their_collection() -> None:
    names = [(index.collection, index.named) for index in INDEXES]
    assert len(names) == len(set(names))
    assert {"tasks", "runs", "steps", "workers", "logs", "leases"} <= set(COLLECTIONS)


def test_index_without_name_is_named_by_its_keys() -> None:
    assert Index("x", (("a.b", 1), ("c", -1))).named == "a_b_1_c_-1"
