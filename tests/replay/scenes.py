"""Runs of every kind that a journal can tell of, acted in the executors' integration world: where goldens come from."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.messages import ReplyOutcome, WorkerInstruction
from shared.obs.clock import now
from shared.seal import Sealer
from shared.testing.robot import FakeRobot, InstructionFailed
from tests.integration.executor.conftest import ACCOUNT, World, until

SECRET = "s3cret-of-the-golden-journals"
HEAD = """
from robot import browser
from regente import business_error, decide, log, objects, secrets, wait
import random
import time
from datetime import datetime, date
"""
OPENS = """
opened = {"times": "0"}

def setup(group: dict[str, str]) -> None:
    browser.open("https://portal.example/" + group["certificate"])
    opened["times"] = "1"

def teardown(group: dict[str, str]) -> None:
    browser.close()
"""


@dataclass
class Scene:
    """One kind of run."""

    script: str
    act: Callable[[World, FakeRobot], Awaitable[str]] | None = None
    """Opens a run and brings it to where it ends by itself; its id."""
    table: dict[str, Any] = field(default_factory=dict)
    """What the robot answers."""
    tasks: int = 2
    reason: str = "completed"
    """Why the run ends."""
    states: tuple[str, ...] = ("succeeded", "succeeded")
    """What becomes of its tasks."""
    kinds: tuple[str, ...] = ()
    """Kinds of entries that its journal must hold."""
    settings: dict[str, Any] = field(default_factory=dict)
    scenario: dict[str, Any] = field(default_factory=dict)


async def play(world: World, scene: Scene) -> str:
    """Act a scene to its end; the run's id."""
    await put_secret(world)
    robot = await world.robot(dict(scene.table))
    await world.executor()
    await world.publish(HEAD + scene.script, settings=scene.settings, **scene.scenario)
    run = await (scene.act or _as_it_comes(scene.tasks))(world, robot)
    ended = await world.ended(run, 60.0)
    assert ended["end"]["reason"] == scene.reason, ended["end"]
    await until(lambda: _trimmed(world, run))
    tasks = await world.tasks(run)
    found = tuple((one.get("pending") or {}).get("what") or one["state"] for one in tasks)
    assert tuple(scene.states) == tuple(
        one["state"] if one["state"] != "running" else what for one, what in zip(tasks, found, strict=True)
    ), found
    kinds = {one["kind"] for one in await world.steps(run)}
    assert kinds >= set(scene.kinds), kinds
    return run


async def opened(world: World, robot: FakeRobot, tasks: int = 2, **fields: Any) -> str:
    """Open a run on this robot."""
    return await world.open(tasks, worker=robot.worker, group={"certificate": "acme"}, **fields)


async def put_secret(world: World) -> None:
    """A document that scripts get a handle of."""
    id = f"{ACCOUNT}/portal/password"
    sealed = Sealer(bytes(range(32))).seal("document", json.dumps({"text": SECRET}).encode(), id.encode())
    await world.mongo["documents"].update_one({"_id": id}, {"$set": {"sealed": sealed}}, upsert=True)


def _as_it_comes(tasks: int) -> Callable[[World, FakeRobot], Awaitable[str]]:
    async def act(world: World, robot: FakeRobot) -> str:
        return await opened(world, robot, tasks)

    return act


async def _trimmed(world: World, run: str) -> bool:
    return "trim" not in await world.run(run)


async def _in_flight(world: World, robot: FakeRobot) -> str:
    """Open a run and bring it to a text that the robot reads and does not tell."""

    def read(_: WorkerInstruction) -> str:
        robot.silent = True
        return "as it was"

    async def asked() -> bool:
        return robot.silent

    robot.table["browser.text"] = read
    run = await opened(world, robot)
    await until(asked)
    robot.table["browser.text"] = "as it was"
    return run


async def _answer(world: World, run: str, answer: str) -> None:
    """Answer the question that a run waits for."""
    parked = await world.until_run(run, state="waiting", wait__kind="decision")
    assert (await world.ask("decision.answer", parked["wait"]["decision"], answer=answer))["state"] == "done"


def twice(outcome: ReplyOutcome, code: str, value: Any = None) -> Callable[[WorkerInstruction], Any]:
    """Fails the first two times, then does it."""
    left = [outcome] * 2

    def answer(_: WorkerInstruction) -> Any:
        if left:
            raise InstructionFailed(left.pop(), code)
        return value

    return answer


def always(outcome: ReplyOutcome, code: str) -> Callable[[WorkerInstruction], Any]:
    """Fails."""

    def answer(_: WorkerInstruction) -> Any:
        raise InstructionFailed(outcome, code)

    return answer


async def _abort(world: World, robot: FakeRobot) -> str:
    """Aborted while an instruction is in flight; the robot answers when it is asked to cut it."""
    run = await _in_flight(world, robot)
    await world.ask("run.abort", run, reason="enough")
    robot.silent = False
    return run


async def _takeover(world: World, robot: FakeRobot) -> str:
    """The executor leaves with an instruction in flight, another one goes on from the snapshot."""
    (first,) = world.executors
    run = await _in_flight(world, robot)
    await world.leave(first)
    robot.silent = False
    await world.executor("executor-2")
    return run


async def _decide(world: World, robot: FakeRobot) -> str:
    run = await opened(world, robot, 1)
    await _answer(world, run, "left")
    return run


async def _released(world: World, robot: FakeRobot) -> str:
    """The run gives its robot back while it waits for a person, and is set up anew on another one."""
    other = await world.robot({"browser.text": "second"}, n=2)
    run = await opened(world, robot, 1, epoch=5)
    parked = await world.until_run(run, state="waiting", wait__kind="decision")
    freed = {"$set": {"worker": None, "last_worker": robot.worker, "pending": None}}
    await world.mongo["runs"].update_one({"_id": run}, freed)
    await world.ask("decision.answer", parked["wait"]["decision"], answer="right")
    await world.until_run(run, state="opened", wants_robot=True, executor=None)
    handed = {"to": "executor", "what": "opened", "since": now(), "due_at": now(), "claims": 0}
    found = {"worker": other.worker, "epoch": 9, "wants_robot": False, "pending": handed}
    await world.mongo["runs"].update_one({"_id": run}, {"$set": found})
    return run


async def _warm(world: World, robot: FakeRobot) -> str:
    """No task is left, the session is kept alive twice, then a person stops the run."""
    run = await opened(world, robot, 1, warm=True)

    async def kept_alive() -> bool:
        over = [one for one in await world.steps(run) if (one["kind"], one["phase"]) == ("outcome", "keepalive")]
        return len(over) >= 2

    await until(kept_alive, 30.0)
    await world.until_run(run, state="waiting", wait__kind="warm")
    await world.ask("run.stop", run, reason="enough")
    return run


SCENES: dict[str, Scene] = {
    "success": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    browser.fill(objects.go, task["n"])
    browser.fill(objects.go, secrets.get("portal/password"))
    browser.click(objects.go, commit=True)
    return {"protocol": browser.text(objects.go), "times": opened["times"]}
""",
        table={"browser.text": "2026/1"},
    ),
    "caught": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    tries = 0
    while tries < 5:
        tries += 1
        try:
            browser.click(objects.go)
            break
        except LookupError as error:
            log.warning("not there yet", reason=str(error), tries=tries)
            time.sleep(0.01)
    try:
        browser.text(objects.go, timeout=-1)
    except ValueError as error:
        log.info("refused", reason=str(error))
    return {"tries": str(tries)}
""",
        table={"browser.click": twice(ReplyOutcome.ERROR, "NOT_FOUND")},
    ),
    "business": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    if browser.exists(objects.go, timeout=1):
        business_error("registration " + task["n"] + " is unknown to the portal")
    return {}
""",
        table={"browser.exists": True}, states=("failed", "failed"),
    ),
    "clock": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    began = time.time()
    dice = [str(random.randint(1, 1000)) for _ in range(3)]
    browser.fill(objects.go, datetime.now().isoformat() + " " + dice[0])
    time.sleep(0.05)
    browser.fill(objects.go, date.today().isoformat() + " " + dice[1])
    tries = 0
    while time.time() < began + 0.2:
        time.sleep(0.05)
        tries += 1
    browser.fill(objects.go, str(time.time() - began) + " " + str(random.random()))
    return {"dice": dice[2], "tries": str(tries)}
""",
    ),
    "logs": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    print("begins with", task["n"])
    log.info("clicks", at=time.time())
    browser.click(objects.go)
    for n in range(3):
        print("line", n)
    log.error("done", n=task["n"])
    return {}
""",
    ),
    "decide": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    browser.click(objects.go)
    first = decide("Which one?", options=["left", "right"])
    wait(1.2)
    second = decide("And now?", timeout=0.3, default="nothing")
    try:
        third = decide("Anybody?", timeout=0.2)
    except TimeoutError:
        third = "nobody"
    browser.fill(objects.go, first + second)
    return {"first": first, "second": second, "third": third}
""",
        act=_decide, states=("succeeded",),
    ),
    "abort": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    browser.click(objects.go)
    found = browser.text(objects.go)
    browser.fill(objects.go, found)
    return {}
""",
        act=_abort, reason="aborted", states=("failed", "not_started"), kinds=("abort",),
    ),
    "takeover": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    dice = str(random.random())
    before = time.time()
    browser.click(objects.go)
    found = browser.text(objects.go)
    browser.fill(objects.go, found + dice + str(random.random()))
    return {"took": str(time.time() - before)}
""",
        act=_takeover, kinds=("takeover",),
    ),
    "in_doubt": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    browser.fill(objects.go, task["n"])
    browser.click(objects.go, commit=True)
    return {"text": browser.text(objects.go)}
""",
        table={"browser.click": always(ReplyOutcome.IN_DOUBT, "IN_DOUBT")}, states=("held", "held"),
    ),
    "setup_failure": Scene(
        OPENS.replace('    opened["times"]', '    browser.click(objects.go)\n    opened["times"]')
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    return {}
""",
        table={"browser.click": always(ReplyOutcome.ERROR, "NOT_FOUND")}, reason="setup_failed",
        states=("not_started", "not_started"),
    ),
    "failure": Scene(
        OPENS
        + """
def read(n: str) -> str:
    return browser.text(objects.go) + n

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.click(objects.go)
    return {"text": read(task["n"])}
""",
        table={"browser.text": always(ReplyOutcome.ERROR, "TIMEOUT")}, states=("retry", "retry"),
        settings={"retry": {"attempts": 2}},
    ),
    "released": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    before = browser.text(objects.go)
    answer = decide("Which one?", release=True)
    return {"before": before, "answer": answer, "after": browser.text(objects.go)}
""",
        act=_released, table={"browser.text": "first"}, states=("succeeded",),
    ),
    "warm": Scene(
        OPENS
        + """
def execute(task: dict[str, str]) -> dict[str, str]:
    browser.click(objects.go)
    return {}

def keepalive(group: dict[str, str]) -> None:
    wait(1)
""",
        act=_warm, reason="stopped", states=("succeeded",), scenario={"warm": {"keep_alive_s": 1}},
    ),
}  # fmt: skip
