"""The state machines hold together: every state can be reached, no way leads out of a final one, each edge is owned."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import run_state, task_state
from shared.domain.delivery_state import DELIVERY, DeliveryState
from shared.domain.machine import IllegalTransition, Machine
from shared.domain.run_state import RUN, RunState
from shared.domain.task_state import TASK, TaskState
from shared.domain.worker_state import WORKER, WorkerMode, WorkerStatus

SERVICES = {"collector", "scheduler", "executor", "delivery", "console"}
MACHINES: list[tuple[Machine[StrEnum], type[StrEnum]]] = [
    (TASK, TaskState),  # type: ignore[list-item]
    (RUN, RunState),  # type: ignore[list-item]
    (WORKER, WorkerStatus),  # type: ignore[list-item]
    (DELIVERY, DeliveryState),  # type: ignore[list-item]
]
each_machine = pytest.mark.parametrize(("machine", "states"), MACHINES, ids=[m.name for m, _ in MACHINES])


@each_machine
def test_every_state_can_be_reached(machine: Machine[StrEnum], states: type[StrEnum]) -> None:
    reached, before = {machine.initial}, set()
    while reached != before:
        before = set(reached)
        reached |= {after for (source, after) in machine.edges if source in before}
    assert reached == set(states)


@each_machine
def test_every_edge_names_services_and_a_reason(machine: Machine[StrEnum], states: type[StrEnum]) -> None:
    for (before, after), edge in machine.edges.items():
        assert set(edge.owner.split(" or ")) <= SERVICES, (before, after)
        assert edge.reason.strip()
        assert before != after


@each_machine
def test_check_agrees_with_the_table(machine: Machine[StrEnum], states: type[StrEnum]) -> None:
    for before in states:
        for after in states:
            for owner in SERVICES:
                edge = machine.edges.get((before, after))
                if edge is not None and owner in edge.owner.split(" or "):
                    assert machine.check(before, after, owner=owner) is edge
                    assert before in machine.sources(after, owner=owner)
                else:
                    assert before not in machine.sources(after, owner=owner)
                    with pytest.raises(IllegalTransition):
                        machine.check(before, after, owner=owner)


def test_final_states_are_the_declared_ones() -> None:
    assert TASK.final() == task_state.FINAL
    assert RUN.final() == run_state.FINAL
    assert DELIVERY.final() == {DeliveryState.DELIVERED}
    assert WORKER.final() == set()


def test_live_and_final_runs_are_all_runs() -> None:
    assert set(RunState) == run_state.LIVE | run_state.FINAL
    assert not run_state.LIVE & run_state.FINAL


def test_a_live_run_can_always_be_aborted() -> None:
    for state in run_state.LIVE:
        assert RUN.check(state, RunState.ABORTED, owner="executor")


def test_each_event_is_a_state_that_partners_know() -> None:
    assert task_state.FINAL < task_state.EVENTS
    assert {TaskState.HELD} == task_state.EVENTS - task_state.FINAL


def test_a_busy_robot_can_end_in_every_mode() -> None:
    idle = {
        WorkerMode.RUN: WorkerStatus.WAITING,
        WorkerMode.PAUSE: WorkerStatus.PAUSED,
        WorkerMode.STOP: WorkerStatus.STOPPED,
    }
    for busy in (WorkerStatus.RESERVED, WorkerStatus.RUNNING):
        for after in idle.values():
            assert WORKER.check(busy, after, owner="scheduler")


@given(st.lists(st.sampled_from(list(TaskState)), min_size=1, max_size=12))
def test_no_walk_leaves_a_final_task(walk: list[TaskState]) -> None:
    """Follow a random walk as far as the table lets it: once final, every further step is refused."""
    state = TASK.initial
    for wanted in walk:
        if (state, wanted) in TASK.edges:
            assert state not in task_state.FINAL
            state = wanted
