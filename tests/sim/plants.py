"""Faults that are planted on purpose, so that the simulation shows that it would find them.

Called by: test_plants.py. Each changes production code (or the model of the robot) through pytest's monkeypatch, in the
way in which such code is really written wrong: an ack before the write, an update without a guard, an entry left
out, two steps in the wrong order, a sweeper that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import services.executor.store as executor_store
import services.scheduler.store.tasks as scheduler_tasks
import shared.domain.retry as retry
from services.executor.core.journal import Kind
from services.executor.robots import Robots
from services.executor.store import ExecutorStore
from shared.contracts.messages import WorkerInstruction
from shared.mongo.guarded import Guarded
from tests.sim.robot import Robot

Plant = Callable[[pytest.MonkeyPatch], None]


def ack_before_write(patch: pytest.MonkeyPatch) -> None:
    """The hand-over of a run is cleared first, and the run claimed after it."""
    claim = ExecutorStore.claim

    async def wrong(self: ExecutorStore, run: Mapping[str, Any], executor: str) -> dict[str, Any] | None:
        await self.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"pending": None}})
        return await claim(self, run, executor)

    patch.setattr(ExecutorStore, "claim", wrong)


def unguarded_update(patch: pytest.MonkeyPatch) -> None:
    """The executor's updates change their document whatever state it is in."""
    guarded = executor_store.guarded_update

    async def wrong(collection: Any, id: Any, expect: Any, update: Any, **more: Any) -> Guarded:
        return await guarded(collection, id, {}, update, **more)

    patch.setattr(executor_store, "guarded_update", wrong)


def unguarded_return(patch: pytest.MonkeyPatch) -> None:
    """The scheduler's changes of tasks expect their state, but not their hand-over and holder."""
    guarded = scheduler_tasks.guarded_update

    async def wrong(collection: Any, id: Any, expect: Any, update: Any, **more: Any) -> Guarded:
        return await guarded(collection, id, {"state": expect["state"]}, update, **more)

    patch.setattr(scheduler_tasks, "guarded_update", wrong)


def skipped_entry(patch: pytest.MonkeyPatch) -> None:
    """Acts are sent without an entry in the journal."""
    add_step = ExecutorStore.add_step

    async def wrong(self: ExecutorStore, entry: Mapping[str, Any]) -> None:
        if entry["kind"] == Kind.INSTRUCTION and entry["instruction"]["effect"] == "act":
            return
        await add_step(self, entry)

    patch.setattr(ExecutorStore, "add_step", wrong)


def robot_forgets(patch: pytest.MonkeyPatch) -> None:
    """The robot acts without having written it down."""
    begin = Robot._begin

    def wrong(self: Robot, one: WorkerInstruction) -> None:
        begin(self, one)
        self.disk.acts.pop((one.run, one.seq), None)
        self.disk.runs[one.run]["seq_max"] = 0

    patch.setattr(Robot, "_begin", wrong)


def swapped_order(patch: pytest.MonkeyPatch) -> None:
    """An instruction is sent first, and stored when its reply has come."""
    add_step, ask = ExecutorStore.add_step, Robots.ask
    kept: dict[tuple[str, int], tuple[ExecutorStore, Mapping[str, Any]]] = {}

    async def later(self: ExecutorStore, entry: Mapping[str, Any]) -> None:
        if entry["kind"] == Kind.INSTRUCTION:
            kept[entry["run"], entry["seq"]] = (self, entry)
        else:
            await add_step(self, entry)

    async def first(self: Robots, message: WorkerInstruction, *args: Any, **more: Any) -> Any:
        reply = await ask(self, message, *args, **more)
        stored = kept.pop((message.run, message.seq), None)
        if stored is not None:
            await add_step(*stored)
        return reply

    patch.setattr(ExecutorStore, "add_step", later)
    patch.setattr(Robots, "ask", first)


def repeats_commits(patch: pytest.MonkeyPatch) -> None:
    """What may have been done does not keep a task from being tried again."""
    import services.scheduler.core.zombies as zombies

    def wrong(**_: Any) -> bool:
        return False

    patch.setattr(retry, "may_have_acted", wrong)
    patch.setattr(zombies, "may_have_acted", wrong)


def token_not_raised(patch: pytest.MonkeyPatch) -> None:
    """Who takes a run over goes on under the token of the one before."""
    guarded = executor_store.guarded_update

    async def wrong(collection: Any, id: Any, expect: Any, update: Any, **more: Any) -> Guarded:
        if "executor" in expect and "token" in update.get("$set", {}):
            update = {"$set": {**update["$set"], "token": expect["token"]}}
        return await guarded(collection, id, expect, update, **more)

    patch.setattr(executor_store, "guarded_update", wrong)


def no_fences(patch: pytest.MonkeyPatch) -> None:
    """The robot does what it has not done yet, whichever reservation it is told under."""
    known = Robot._known

    def wrong(self: Robot, one: WorkerInstruction) -> Any:
        found = known(self, one)
        return None if found == "STALE_EPOCH" else found

    patch.setattr(Robot, "_known", wrong)
    patch.setattr(Robot, "_not_to_be_done", lambda *_: None)


def outcome_by_message_only(patch: pytest.MonkeyPatch) -> None:
    """A task's end is told to delivery by a message alone."""
    made = executor_store._end_update

    def wrong(*args: Any, **more: Any) -> dict[str, Any]:
        update = made(*args, **more)
        if (update["$set"].get("pending") or {}).get("to") == "delivery":
            update["$set"]["pending"] = None
        return update

    patch.setattr(executor_store, "_end_update", wrong)


PLANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        ack_before_write, unguarded_update, unguarded_return, skipped_entry, robot_forgets, swapped_order,
        repeats_commits, token_not_raised, no_fences, outcome_by_message_only,
    )
}  # fmt: skip

SWEEPERS = (
    "executor.sweep", "executor.waits", "executor.commands", "executor.watch", "scheduler.handed_over",
    "scheduler.due", "scheduler.requests", "scheduler.dispatch",
)  # fmt: skip
"""Each is missing once. Those that are not here only make things quicker where robots come back in the end (lost,
watch), or stand behind the others as a second net (zombies, stalls)."""
