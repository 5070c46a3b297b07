"""The witness itself: it says nothing about a lawful course of events, and speaks up at every kind of trespass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.fleet.scene import Robot, Workflow, workflows
from tests.fleet.watching import Witness

FEW = next(one for one in workflows() if one.name == "few")
TAGGED = next(one for one in workflows() if one.tags)
HELD = {"attempt": 1, "epoch": 1}


class Course:
    """A course of events as the database's journal tells it."""

    def __init__(self) -> None:
        self.witness = Witness(
            {one.id: one for one in workflows()}, [Robot("r1", None, None, ()), Robot("r2", None, None, ())]
        )
        for robot in ("r1", "r2"):
            self.insert("workers", robot, {"epoch": 0, "run": None})

    def insert(self, collection: str, id: str, fields: Mapping[str, Any]) -> None:
        self._see(collection, id, "insert", fullDocument=dict(fields))

    def update(self, collection: str, id: str, fields: Mapping[str, Any], *gone: str) -> None:
        self._see(
            collection, id, "update", updateDescription={"updatedFields": dict(fields), "removedFields": list(gone)}
        )

    def queue(self, task: str, rank: int = 1, of: Workflow = FEW) -> None:
        place = {"list": f"{of.id}/i", "key": "k", "rank": rank}
        self.insert("tasks", task, {"account": of.account, "workflow": of.name, "priority": None, "queue": place})

    def open(self, run: str, robot: str, epoch: int, *tasks: str, of: Workflow = FEW) -> None:
        self.update("workers", robot, {"run": run, "epoch": epoch})
        for task in tasks:
            self.update("tasks", task, {"state": "running", "held_by": {"run": run, **HELD}}, "queue")
        items = [{"task": task} for task in tasks]
        fields = {"account": of.account, "workflow": of.name, "worker": robot, "epoch": epoch, "tasks": items}
        self.insert("runs", run, fields)

    def end(self, run: str, robot: str, *tasks: str, state: str = "succeeded") -> None:
        for task in tasks:
            self.update("tasks", task, {"state": state, "held_by": None})
        self.update("runs", run, {"state": "finished"})
        self.update("workers", robot, {"run": None})

    def _see(self, collection: str, id: str, what: str, **more: Any) -> None:
        self.witness._see({"ns": {"coll": collection}, "documentKey": {"_id": id}, "operationType": what, **more})


@pytest.fixture
def course() -> Course:
    """Two robots, and three tasks in the queue."""
    made = Course()
    for n in range(3):
        made.queue(f"t{n}", rank=n)
    return made


def test_a_lawful_course_is_left_alone(course: Course) -> None:
    course.open("run1", "r1", 1, "t0", "t1")
    course.open("run2", "r2", 1, "t2")
    course.end("run1", "r1", "t0")
    course.update("tasks", "t1", {"state": "queued", "held_by": None, "queue": {"list": "x", "key": "k", "rank": 1}})
    course.end("run2", "r2", "t2", state="failed")
    course.open("run3", "r1", 2, "t1")
    course.end("run3", "r1", "t1")
    assert course.witness.wrong == []
    assert course.witness.unfinished() == []
    assert dict(course.witness.finals) == {"t0": 1, "t1": 1, "t2": 1}


def test_a_task_that_two_runs_hold(course: Course) -> None:
    course.open("run1", "r1", 1, "t0")
    course.open("run2", "r2", 1, "t0")
    assert _said(course, "was held by run run1 when run run2 took it")


def test_a_task_that_ends_twice(course: Course) -> None:
    course.open("run1", "r1", 1, "t0")
    course.end("run1", "r1", "t0")
    course.update("tasks", "t0", {"state": "failed"})
    assert _said(course, "went from succeeded to failed")
    assert course.witness.finals["t0"] == 2


def test_a_robot_with_two_live_runs(course: Course) -> None:
    course.open("run1", "r1", 1, "t0")
    course.open("run2", "r1", 2, "t1")
    assert _said(course, "had live run run1 when run2 was opened on it")
    assert _said(course, "was reserved by run1 when run2 reserved it")


def test_a_robot_that_is_freed_too_early(course: Course) -> None:
    course.open("run1", "r1", 1, "t0")
    course.update("workers", "r1", {"run": None})
    assert _said(course, "was freed while its run run1 was live")


def test_an_epoch_that_does_not_grow(course: Course) -> None:
    course.open("run1", "r1", 1, "t0")
    course.end("run1", "r1", "t0")
    course.open("run2", "r1", 1, "t1")
    assert _said(course, "went from epoch 1 to 1")


def test_a_run_that_lists_what_it_did_not_take(course: Course) -> None:
    course.open("run1", "r1", 1, "t0")
    course.insert(
        "runs",
        "run2",
        {"account": FEW.account, "workflow": FEW.name, "worker": "r2", "epoch": 0, "tasks": [{"task": "t1"}]},
    )
    assert _said(course, "run run2 lists 1 tasks and took 0")


def test_a_run_on_a_robot_that_may_not_run_it(course: Course) -> None:
    course.queue("t9", of=TAGGED)
    course.open("run1", "r1", 1, "t9", of=TAGGED)
    assert _said(course, "which may not run it")


def test_a_run_with_too_many_tasks(course: Course) -> None:
    many = [f"m{n}" for n in range(FEW.max_tasks + 1)]
    for n, task in enumerate(many):
        course.queue(task, rank=10 + n)
    course.open("run1", "r1", 1, *many)
    assert _said(course, f"at most {FEW.max_tasks}")


def _said(course: Course, text: str) -> bool:
    assert any(text in line for line in course.witness.wrong), course.witness.wrong
    return True
