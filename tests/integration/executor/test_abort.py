"""An abort reaches a run wherever it is, within two seconds: in an instruction that hangs on the robot, in a wait of
this process, parked for a person, and while the script computes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.broker import Delivery
from shared.contracts.messages import ReplyOutcome, SessionState, WorkerAbort, WorkerInstruction, WorkerRunEnded
from shared.contracts.topology import WORKERS, control_queue, reply_key
from shared.testing.robot import FakeRobot, InstructionFailed
from tests.integration.executor.conftest import World, until

ABORT_S_MAX = 2.0
HANGS = "browser.download"


class HangingRobot(FakeRobot):
    """Obeys its control queue like the agent: an abort kills the driver, so what it works on is answered as cut off, an
    act as in doubt, and the desktop is gone. It never ends a download by itself."""

    hangs: WorkerInstruction | None = None

    async def start(self) -> None:
        """Listen to both queues."""
        await super().start()
        self._control = await self._broker.consume(control_queue(self.worker), self.on_control)

    async def stop(self) -> None:
        """Listen no more."""
        await self._control.cancel()
        await super().stop()

    async def on_worker_instruction(self, instruction: WorkerInstruction, delivery: Delivery) -> None:
        """Hang where the table would answer."""
        if instruction.name == HANGS and self._replies.get((instruction.run, instruction.seq)) is None:
            self.hangs = instruction
            return
        await super().on_worker_instruction(instruction, delivery)

    async def on_control(self, message: WorkerAbort | WorkerRunEnded, _: Delivery) -> None:
        """Cut what is in hand."""
        cut, self.hangs = self.hangs, None
        if not isinstance(message, WorkerAbort) or cut is None or cut.run != message.run:
            return
        outcome = ReplyOutcome.IN_DOUBT if cut.effect == "act" else ReplyOutcome.ERROR
        failed = InstructionFailed(outcome, "ABORTED", message.reason, SessionState.LOST)
        reply = self._made(cut, failed.outcome, error=failed.error, desktop=failed.desktop)
        self._replies[cut.run, cut.seq] = reply
        await self._broker.send(WORKERS, reply_key(self.worker, cut.reply_to), reply, persistent=False, confirm=False)


async def hanging(world: World) -> HangingRobot:
    """A robot of this kind in place of the table's."""
    robot = await world.robot()
    await robot.stop()
    made = HangingRobot(robot._broker, robot.worker)
    await made.start()
    world.robots[:] = [made]
    return made


SCRIPT = """
from robot import browser
from regente import decide, objects, wait
import time

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.url()
    while True:
        try:
            {}
        except BaseException:
            pass

def teardown(group: dict[str, str]) -> None:
    browser.close()
"""
WHERE = {
    "instruction": ("browser.download(objects.go)", {}),
    "short wait": ("time.sleep(0.9)", {}),
    "journalled wait": ("wait(20)", {}),
    "parked wait": ("wait(600)", {"state": "waiting"}),
    "question": ("decide('?')", {"state": "waiting"}),
    "computing": ("time.sleep(0); [x for x in range(200_000)]", {}),
}


@pytest.mark.parametrize("where", WHERE)
async def test_an_abort_ends_the_run_within_two_seconds(world: World, where: str) -> None:
    body, parked = WHERE[where]
    await world.executor()
    robot = await hanging(world)
    await world.publish(SCRIPT.format(body))
    run = await world.open(2, worker=robot.worker)
    if parked:
        await world.until_run(run, **parked)
    else:
        await until(lambda: _asked(world, run, 2 if where in ("instruction", "journalled wait") else 1))
        await until(lambda: _hangs(robot)) if where == "instruction" else await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    asked = asyncio.create_task(world.ask("run.abort", run, reason="enough"))
    ended = await world.ended(run)
    took_s = loop.time() - began
    await asked
    assert (ended["state"], ended["end"]["reason"], ended["end"]["text"]) == ("aborted", "aborted", "enough")
    first, second = await world.tasks(run)
    assert (first["state"], first["error"]["code"]) == ("held" if where == "instruction" else "failed", "ABORTED")
    assert second["pending"]["what"] == "not_started"
    closed = "browser.close" in [one.name for one in robot.done]
    assert closed is (where != "instruction"), "teardown runs where the desktop is still there"
    assert took_s < ABORT_S_MAX


async def _asked(world: World, run: str, instructions: int) -> Any:
    return await world.mongo["steps"].count_documents({"run": run, "kind": "instruction"}) >= instructions


async def _hangs(robot: HangingRobot) -> bool:
    return robot.hangs is not None
