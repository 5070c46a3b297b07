"""Everybody else: partners who bring tasks, people who ask for things, and delivery, which takes outcomes over.

Called by: world.py. They never fail themselves: they write to the data directly, as if their own service were perfect,
and only their hints may be lost.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from services.scheduler.core.contact import Contact
from services.scheduler.core.enrolment import Answer
from services.scheduler.main import Scheduler
from services.scheduler.robots import Enrolment
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued, TaskAccepted
from shared.contracts.topology import HANDOFFS
from shared.errors import RegenteError
from shared.obs.clock import now
from tests.sim.broker import Letter
from tests.sim.robot import Disk
from tests.sim.scene import ACCOUNT, Task
from tests.sim.script import OPTIONS

if TYPE_CHECKING:
    from tests.sim.world import World

DELIVERY_LOOK_S = 0.5
ENROL_S_MAX = 3.0
KEY = "the robots' key"


class Outside:
    """Partners, people, delivery."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.told: Counter[tuple[str, str]] = Counter()
        """How often delivery took over each (task, event)."""
        self.commands = 0
        self._answered: set[str] = set()

    def publish(self) -> None:
        """Workflows, robots and documents are there from the beginning."""
        world = self._world
        world.insert("accounts", {"_id": ACCOUNT, "name": ACCOUNT, "settings": {}})
        for workflow in world.scene.workflows:
            document, version = workflow.documents()
            world.insert("versions", version)
            world.insert("workflows", document)
        for robot in world.scene.robots:
            world.insert("workers", _worker(robot, world.scene.exclusive.get(robot)))
        world.insert("documents", world.secret_document())

    def bring(self, task: Task) -> None:
        """A partner hands a task in."""
        self._world.insert("tasks", task.document(now()))
        self._hint("task.accepted", TaskAccepted(account=ACCOUNT, workflow=task.workflow.name, count=1))

    def ask(self, kind: str, to: str, target: str, args: dict[str, Any]) -> str:
        """A person asks for something, as the console stores it."""
        self.commands += 1
        id, at = f"cmd_{self.commands}", now()
        self._world.insert("commands", {
            "_id": id, "schema_version": 1, "kind": kind, "to": to, "target": target, "args": args, "by": "ada",
            "state": "pending", "reason": None, "claims": 0, "created_at": at, "due_at": at,
        })  # fmt: skip
        self._hint(f"command.{to}", CommandIssued(command=id, to=to))
        return id

    def take_over(self) -> None:
        """Delivery's look at what was handed to it."""
        server = self._world.server
        for task in server.documents("tasks"):
            pending = task.get("pending")
            if pending is not None and pending["to"] == "delivery":
                self.told[task["_id"], pending["what"]] += 1
                server.update("tasks", {"_id": task["_id"]}, {"$set": {"pending": None}})

    def answer(self, *, some: bool) -> None:
        """People answer open questions. some: now and then, and not always with what may be answered."""
        draw = self._world.draw
        for one in self._world.server.documents("decisions"):
            if one["state"] != "open" or (one["_id"] in self._answered and draw.random() < 0.8):
                continue
            if not some or draw.random() < 0.3:
                self._answered.add(one["_id"])
                answer = "perhaps" if some and draw.random() < 0.2 else draw.choice(OPTIONS)
                self.ask("decision.answer", "executor", one["_id"], {"answer": answer})

    async def enrol(self, robot: str, session: str, disk: Disk) -> str | None:
        """A robot asks a scheduler that is up, as its agent does over HTTP; its key for sealed arguments if it may
        work."""
        world = self._world
        up = [one for one in world.processes if isinstance(one.service, Scheduler) and not one.life.dead]
        if not up:
            return None
        service = world.draw.choice(up).service
        assert isinstance(service, Scheduler)
        request = Enrolment(
            worker=robot, key=KEY, addresses=[robot], name=robot, os="sim", agent_version="1", drivers=["web"],
            contact=Contact(session, disk.id, disk.counter), epoch=disk.epoch, opens_sealed=True,
        )  # fmt: skip
        try:
            admission = await asyncio.wait_for(service.robots.enrol(request), ENROL_S_MAX)
        except (RegenteError, PyMongoError, TimeoutError):
            return None
        return service.rights.seal_key(robot, admission.grant) if admission.answer == Answer.AUTHORISED else None

    def _hint(self, key: str, message: Message) -> None:
        self._world.post.carry(Letter(HANDOFFS, key, message, None))


def _worker(id: str, exclusive: str | None) -> dict[str, Any]:
    """A robot that was authorised, and has not yet made contact."""
    return {
        "_id": id, "schema_version": 1, "addresses": [id], "name": id, "os": "sim", "agent_version": "1",
        "drivers": ["web"], "account": None, "key_hash": hashlib.sha256(KEY.encode()).hexdigest(),
        "authorisation": "authorised", "authorised_by": "ada", "authorised_at": None, "grant": 1, "doubt": None,
        "connected": False, "status": "waiting", "mode": "run",
        "epoch": 0, "run": None, "journal": None, "session": None, "sessions_gone": [], "seen": {"beat": None},
        "workflows": None, "exclusive": exclusive, "tags": [], "schedule": None, "quarantine": None, "failures": 0,
        "drain": None, "follow": None, "enrolled_at": None, "op": "in",
    }  # fmt: skip
