"""A robot's status, and when a run has lost it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.robots import BUSY, IDLE, lost, status_after_mode, status_after_release
from shared.domain.machine import IllegalTransition
from shared.domain.worker_state import WorkerMode, WorkerStatus


@given(st.sampled_from(sorted(BUSY)), st.sampled_from(WorkerMode))
def test_a_released_robot_does_what_people_want_of_it(status: WorkerStatus, mode: WorkerMode) -> None:
    assert status_after_release(status, mode) is IDLE[mode]


@pytest.mark.parametrize("status", [WorkerStatus.WAITING, WorkerStatus.PAUSED])
def test_only_a_busy_robot_can_be_released(status: WorkerStatus) -> None:
    with pytest.raises(IllegalTransition):
        status_after_release(status, WorkerMode.RUN)


@given(st.sampled_from(WorkerStatus), st.lists(st.sampled_from(WorkerMode), min_size=1))
def test_modes_never_disturb_what_is_in_hand(status: WorkerStatus, modes: list[WorkerMode]) -> None:
    now = status
    for mode in modes:
        now = status_after_mode(now, mode)
    assert now is (status if status in BUSY else IDLE[modes[-1]])


FREE = {
    "authorisation": "authorised", "connected": True, "status": "waiting", "mode": "run", "run": None, "epoch": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"connected": False}, "silent"),
        ({"authorisation": "revoked", "connected": False}, "no longer authorised"),
        ({"run": "run_2"}, "another run"),
        ({"run": None}, "another run"),
        ({"epoch": 4}, "another run"),
    ],
)
def test_when_a_run_has_lost_its_robot(change: dict[str, Any], reason: str | None) -> None:
    found = lost({**FREE, "run": "run_1", **change}, run="run_1", epoch=3)
    assert (found is None) if reason is None else (reason in (found or ""))


def test_a_removed_robot_is_lost() -> None:
    assert lost(None, run="run_1", epoch=3) == "the robot was removed"
