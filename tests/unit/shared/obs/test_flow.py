"""What is counted about a task's way, and that labels stay bounded whatever comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from shared.obs import flow
from shared.obs.metrics import OTHER, Capped

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"regente_{name}", labels) or 0.0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("123"))), st.integers(0, 5))
def test_the_first_few_keep_their_names_and_all_others_share_one(pairs: list[tuple[str, str]], most: int) -> None:
    capped = Capped(most)
    given_labels = [capped.of(*pair) for pair in pairs]
    kept = list(dict.fromkeys(pairs))[:most]
    assert given_labels == [pair if pair in kept else (OTHER, OTHER) for pair in pairs]
    assert len(set(given_labels)) <= most + 1


def task(workflow: str, **fields: Any) -> dict[str, Any]:
    return {"account": "acme", "workflow": workflow, "created_at": AT, "attempts": 1, **fields}


def test_only_a_first_attempt_has_waited_and_it_waited_from_when_it_might_run() -> None:
    labels = {"account": "acme", "workflow": "waits"}
    later = AT + timedelta(minutes=10)
    flow.began(task("waits", not_before=later, started_at=later + timedelta(seconds=3)))
    flow.began(task("waits", not_before=None, started_at=AT + timedelta(seconds=2)))
    flow.began(task("waits", not_before=None, started_at=AT + timedelta(hours=2), attempts=2))
    assert value("task_wait_seconds_count", **labels) == 2
    assert value("task_wait_seconds_sum", **labels) == 5


def test_a_task_that_never_began_came_out_without_handling_time() -> None:
    labels = {"account": "acme", "workflow": "ends"}
    flow.came_in("acme", "ends", 3)
    flow.came_out(task("ends", started_at=AT), "succeeded", AT + timedelta(seconds=7))
    flow.came_out(task("ends", started_at=AT), "expired")
    assert value("tasks_accepted_total", **labels) == 3
    assert value("tasks_finished_total", outcome="succeeded", **labels) == 1
    assert value("tasks_finished_total", outcome="expired", **labels) == 1
    assert value("task_handling_seconds_sum", outcome="succeeded", **labels) == 7
    assert value("task_handling_seconds_count", outcome="expired", **labels) == 0


def test_a_clock_that_goes_back_makes_no_negative_time() -> None:
    flow.came_out(task("back", started_at=AT), "failed", AT - timedelta(seconds=7))
    assert value("task_handling_seconds_sum", account="acme", workflow="back", outcome="failed") == 0
