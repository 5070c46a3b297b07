"""What becomes of a task: every change is an edge of the scheduler's, and says what is stored with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core import tasks
from services.scheduler.core.tasks import microseconds
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition, Verdict
from shared.domain.task_state import EVENTS, FINAL, TASK, ReturnReason, TaskState

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CREATED = NOW - timedelta(hours=1)
SOON = RetryPolicy(attempts=3, delay_s=0.0)
LATER = RetryPolicy(attempts=3, delay_s=60.0)
policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 20),
    position=st.sampled_from(RetryPosition),
    delay_s=st.sampled_from([0.0, 60.0]),
    in_doubt=st.sampled_from(InDoubtPolicy),
)


def _task(**fields: Any) -> dict[str, Any]:
    return {
        "_id": "task_1", "account": "acme", "workflow": "tax", "priority": None, "created_at": CREATED,
        "not_before": None, "attempts": 1, "held_by": {"run": "run_1", "attempt": 1, "epoch": 4},
        "cancel": None, "pending": None, **fields,
    }  # fmt: skip


def test_a_task_whose_turn_never_came_goes_back_to_its_old_place() -> None:
    change = tasks.given_back(_task(), ReturnReason.NOT_STARTED, LATER, NOW)
    assert (change.before, change.after, change.attempts) == (TaskState.RUNNING, TaskState.QUEUED, -1)
    assert change.place == {"list": "acme/tax/i", "key": "", "rank": microseconds(CREATED)}
    assert change.fields["held_by"] is None
    assert change.fields["pending"] is None
    assert change.event is None


@pytest.mark.parametrize(("position", "rank"), [(RetryPosition.END, microseconds(NOW)), (RetryPosition.FRONT, 41)])
def test_a_retry_joins_where_the_workflow_says(position: RetryPosition, rank: int) -> None:
    policy = RetryPolicy(attempts=3, delay_s=0.0, position=position)
    change = tasks.given_back(_task(priority=4, group="k"), ReturnReason.RETRY, policy, NOW, front=42)
    assert change.place == {"list": "acme/tax/4", "key": "k", "rank": rank}
    assert change.attempts == 0


def test_a_delayed_retry_waits_outside_the_queue_and_then_joins_it() -> None:
    change = tasks.given_back(_task(), ReturnReason.RETRY, LATER, NOW)
    due = NOW + timedelta(seconds=60)
    assert change.place is None
    assert change.fields["not_before"] == due
    waiting = _task(not_before=due)
    assert tasks.due_place(waiting, LATER, due) == {"list": "acme/tax/i", "key": "", "rank": microseconds(due)}
    front = RetryPolicy(attempts=3, delay_s=60.0, position=RetryPosition.FRONT)
    assert tasks.due_place(waiting, front, due, front=8)["rank"] == 7
    assert tasks.due_place(waiting, front, due)["rank"] == microseconds(due), "nobody stands there"
    assert tasks.due_place(_task(not_before=due, attempts=0), front, due)["rank"] == microseconds(due)


def test_a_setup_that_failed_puts_the_next_try_off() -> None:
    pending = {"to": "scheduler", "what": "not_started", "delay_s": 30.0}
    change = tasks.given_back(_task(pending=pending), ReturnReason.NOT_STARTED, SOON, NOW)
    assert change.place is None
    assert change.attempts == -1
    assert change.fields["not_before"] == NOW + timedelta(seconds=30)


def test_a_task_cancelled_while_it_ran_ends_instead_of_going_back() -> None:
    cancel = {"by": "ana", "at": NOW, "command": "cmd_1"}
    change = tasks.given_back(_task(cancel=cancel), ReturnReason.RETRY, SOON, NOW)
    assert (change.after, change.event, change.place) == (TaskState.CANCELLED, "cancelled", None)
    assert change.fields["pending"]["to"] == "delivery"
    assert change.fields["finished_at"] == NOW


def test_the_place_of_a_task_that_had_a_time_is_that_time() -> None:
    time = NOW - timedelta(minutes=5)
    assert tasks.old_place(_task(eligible_at=time))["rank"] == microseconds(time)
    assert tasks.old_place(_task(not_before=CREATED - timedelta(days=1)))["rank"] == microseconds(CREATED)


@given(st.none() | st.sampled_from(Verdict), policies, st.booleans())
def test_nothing_is_lost_or_repeated_when_a_run_ends_without_a_word(
    verdict: Verdict | None, policy: RetryPolicy, cancelled: bool
) -> None:
    task = _task(cancel={"by": "ana", "at": NOW, "command": "cmd_1"} if cancelled else None)
    change = tasks.orphaned(task, verdict, policy, NOW, why="it ended")
    expected = {None: TaskState.QUEUED, Verdict.RETRY: TaskState.QUEUED, Verdict.HOLD: TaskState.HELD,
                Verdict.FAIL: TaskState.FAILED}[verdict]  # fmt: skip
    if cancelled and expected is TaskState.QUEUED:
        expected = TaskState.CANCELLED
    assert change.after is expected
    assert change.fields["held_by"] is None
    assert change.attempts == (-1 if verdict is None else 0)


@given(
    st.sampled_from(
        ["given_back", "orphaned", "poisoned", "misfit", "expired", "cancelled", "held_by_person", "released"]
    ),
    policies,
    st.sampled_from(ReturnReason),
)
def test_every_change_hands_its_event_to_delivery(kind: str, policy: RetryPolicy, what: ReturnReason) -> None:
    """An outcome without a hand-over would never reach its partner; a hand-over without an event would be a puzzle."""
    change = {
        "given_back": lambda: tasks.given_back(_task(), what, policy, NOW),
        "orphaned": lambda: tasks.orphaned(_task(), Verdict.HOLD, policy, NOW, why="it ended"),
        "poisoned": lambda: tasks.poisoned(_task(), 21, NOW),
        "misfit": lambda: tasks.misfit(_task(), "no", NOW),
        "expired": lambda: tasks.expired(NOW),
        "cancelled": lambda: tasks.cancelled(TaskState.HELD, "ana", "cmd_1", NOW),
        "held_by_person": lambda: tasks.held_by_person(_task(), "ana", "wait", NOW),
        "released": lambda: tasks.released(_task(), "ana", NOW),
    }[kind]()
    assert TASK.check(change.before, change.after, owner="scheduler")
    handed = change.fields.get("pending")
    if change.after in EVENTS:
        assert change.event == change.after.value
        assert (handed["to"], handed["what"], handed["claims"]) == ("delivery", change.event, 0)
        assert change.place is None
    else:
        assert change.event is None
        assert handed is None
    assert ("finished_at" in change.fields) == (change.after in FINAL)
    assert (change.fields.get("hold") is not None) == (change.after is TaskState.HELD)


def test_a_released_task_keeps_its_attempts_and_its_time() -> None:
    change = tasks.released(_task(attempts=3), "ana", NOW)
    assert change.attempts == 0
    assert change.place == {"list": "acme/tax/i", "key": "", "rank": microseconds(CREATED)}
    assert tasks.released(_task(not_before=NOW + timedelta(hours=1)), "ana", NOW).place is None


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_times_are_whole_microseconds_with_and_without_a_zone(at: datetime) -> None:
    assert microseconds(at) == microseconds(at.replace(tzinfo=UTC))
    assert datetime(1970, 1, 1) + timedelta(microseconds=microseconds(at)) == at
