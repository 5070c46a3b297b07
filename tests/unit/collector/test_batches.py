"""How far a batch has come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.collector.core.batches import batch_view
from shared.domain.task_state import FINAL, TaskState

counts = st.dictionaries(st.sampled_from([state.value for state in TaskState]), st.integers(1, 5))


def batch(**fields: Any) -> dict[str, Any]:
    """A batch's document."""
    at = datetime(2027, 1, 1, tzinfo=UTC)
    return {"_id": "batch_1", "workflow": "tax", "created_at": at, "count": 9, "rejected": 0, "duplicates": 0, **fields}


@given(counts, st.integers(0, 30), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_what_has_ended_and_what_was_deleted_is_finished(
    states: dict[str, int], buried: int, rejected: int, duplicates: int, missing: int, read: bool
) -> None:
    """missing: tasks that a push expected to make when it died. read: to its end."""
    made = sum(states.values()) + buried
    count = made + missing + rejected + duplicates
    figures = batch(count=count, rejected=rejected, duplicates=duplicates, complete=read)
    view = batch_view(figures, states, buried)
    running = sum(n for state, n in states.items() if state not in FINAL)
    assert (view["tasks"], view["finished"]) == (made, made - running)
    assert view["complete"] == (read and missing == 0)
    assert view["done"] == (view["complete"] and running == 0)
    assert view["progress"] == (round((made - running) / made, 4) if made else 1.0)
    assert sum(view["states"].values()) == sum(states.values())


@given(counts, st.integers(0, 30), st.data())
def test_a_task_that_is_buried_and_stored_still_counts_once(
    states: dict[str, int], deleted: int, data: st.DataObject
) -> None:
    """While it goes to the archive it was counted twice."""
    ended = sum(n for state, n in states.items() if state in FINAL)
    both = data.draw(st.integers(0, ended))
    made = sum(states.values()) + deleted
    view = batch_view(batch(count=made), states, deleted + both)
    assert (view["tasks"], view["finished"], view["complete"]) == (made, ended + deleted, True)
    assert 0 <= view["progress"] <= 1


def test_a_batch_of_before_was_read_to_its_end() -> None:
    view = batch_view(batch(count=3), {"queued": 2, "succeeded": 1}, 0)
    assert (view["tasks"], view["finished"], view["complete"], view["done"]) == (3, 1, True, False)


@given(st.integers(1, 9), st.integers(0, 9))
def test_a_task_that_is_being_deleted_counts_once(count: int, twice: int) -> None:
    """Its tombstone stands before it goes."""
    view = batch_view(batch(count=count), {"succeeded": count}, min(twice, count))
    assert (view["tasks"], view["finished"], view["progress"]) == (count, count, 1.0)
