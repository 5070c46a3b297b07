"""Which of a task's events goes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.order import first_before, place

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
EVENTS = ("held", "succeeded", "failed")


@given(st.lists(st.sampled_from([*EVENTS, "question"]), min_size=1, max_size=12))
def test_places_follow_the_order_in_which_things_happened(course: list[str]) -> None:
    counted: dict[str, int] = {}
    places = []
    for what in course:
        if what == "question":
            places.append(place({"events": counted}, is_state=False))
        else:
            counted = {**counted, what: counted.get(what, 0) + 1}
            places.append(place({"events": counted}, is_state=True))
    assert places == sorted(places)
    for (a, first), (b, second) in zip(enumerate(places), list(enumerate(places))[1:], strict=False):
        if course[a] != "question" or course[b] != "question":
            assert first < second


def delivery(n: int, task: str | None = "t") -> dict[str, Any]:
    return {"_id": f"d{n:02}", "task": task, "order": n // 2, "created_at": NOW + timedelta(seconds=n)}


@given(st.permutations(range(8)), st.integers(0, 7))
def test_the_earliest_that_is_still_live_goes_first(live: list[int], mine: int) -> None:
    others = [delivery(n) for n in live]
    found = first_before(delivery(mine), others)
    assert found == (delivery(0) if mine > 0 else None)


def test_other_tasks_and_deliveries_of_no_task_hold_nothing_up() -> None:
    assert first_before(delivery(5), [delivery(1, "other"), delivery(0, None)]) is None
    assert first_before(delivery(5, None), [delivery(1), delivery(0, None)]) is None
