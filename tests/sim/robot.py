"""A model of the robot: it keeps the agent's contract, and is the witness of what was really done.

Called by: world.py. The rules are those of agent/regente_agent/journal.py and engine.py, written anew: epochs, acts
known by (run, seq), reads as often as they are asked, runs whose desktop is gone, ended runs. Survives a crash: `Disk`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from shared.broker.delivery import Delivery
from shared.contracts.messages import (
    Evidence,
    JournalPosition,
    ReplyError,
    ReplyOutcome,
    SessionState,
    WorkerAbort,
    WorkerHeartbeat,
    WorkerInstruction,
    WorkerReply,
    WorkerRunEnded,
)
from shared.contracts.topology import WORKERS, control_queue, instructions_queue, reply_key, worker_user
from shared.seal import SealBroken
from shared.seal.instructions import open_args
from tests.sim.broker import Broker, Post
from tests.sim.travel import Faults, Life

ACT = "act "
"""How the value of every act begins; what follows names it."""
BEAT_S = 1.4
ENROL_AGAIN_S = 0.5
ERRORS = ("TIMEOUT", "NOT_FOUND", "DRIVER_FAILED")
Reply = dict[str, Any]


@dataclass(frozen=True)
class Effect:
    """An act that really happened."""

    robot: str
    run: str
    seq: int
    epoch: int
    task: str | None
    phase: str
    name: str
    commit: bool
    value: str
    at_s: float


@dataclass
class Disk:
    """What a robot keeps."""

    id: str
    counter: int = 0
    epoch: int = 0
    epoch_run: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By run: epoch, state (live, lost, ended), seq_max."""
    acts: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """By (run, seq): digest, reply (none: started)."""


Enrol = Callable[[str, str, Disk], Awaitable[str | None]]
"""Asks a scheduler for admission: robot, session, what it keeps; the key of what is sealed to it, if it may work."""


@dataclass
class InHand:
    """The instruction that the driver works on."""

    message: WorkerInstruction
    askers: list[str]
    work: asyncio.Task[None] | None = None


class Robot:
    """One robot, over all its lives."""

    def __init__(
        self, name: str, post: Post, faults: Faults, draw: random.Random, effects: list[Effect],
        died: Callable[[Life, str], None], enrol: Enrol,
    ) -> None:  # fmt: skip
        self.name = name
        self.disk = Disk(id=draw.randbytes(8).hex())
        self.broker: Broker | None = None
        self.life = Life(name, died)
        self.life.dead = True
        self._post, self._faults, self._draw, self._effects, self._died = post, faults, draw, effects, died
        self._enrol = enrol
        self._key: str | None = None
        self._loop = post.loop

    async def start(self) -> None:
        """The agent starts: what was in hand is in doubt, desktops are gone."""
        self.life = Life(self.name, self._died)
        self.broker = Broker(self._post, self.life, worker_user(self.name))
        self._session = self._draw.randbytes(8).hex()
        self._beat = 0
        self._reads: dict[str, int] = {}
        self._hand: InHand | None = None
        disk = self.disk
        disk.counter += 1
        for act in disk.acts.values():
            if act["reply"] is None:
                act["reply"] = _failure("in_doubt", "DRIVER_FAILED", "the agent ended while it was in hand", lost=True)
        for run in disk.runs.values():
            if run["state"] == "live":
                run["state"] = "lost"
        life, session = self.life, self._session
        while not life.dead:
            key = await self._enrol(self.name, session, disk)
            if key is not None:
                break
            await asyncio.sleep(ENROL_AGAIN_S)
        if life.dead:
            return
        self._key = key
        await self.broker.consume(instructions_queue(self.name), self._on_instruction, prefetch=4)
        await self.broker.consume(control_queue(self.name), self._on_control, prefetch=4)
        self._loop.create_task(self._beating(life))

    async def _beating(self, life: Life) -> None:
        while not life.dead:
            assert self.broker is not None
            if self.broker.connected:
                hand, self._beat = self._hand, self._beat + 1
                live = next((run for run, one in self.disk.runs.items() if one["state"] == "live"), None)
                heartbeat = WorkerHeartbeat(
                    worker=self.name, session=self._session, journal=self._position(), beat=self._beat,
                    driver="busy" if hand else "ready", run=hand.message.run if hand else live,
                    seq=hand.message.seq if hand else None, epoch=self.disk.epoch,
                )  # fmt: skip
                await self.broker.send(WORKERS, f"heartbeat.{self.name}", heartbeat, persistent=False, confirm=False)
            await asyncio.sleep(BEAT_S)

    # instructions

    async def _on_instruction(self, sent: WorkerInstruction, _: Delivery) -> None:
        one = self._opened(sent)
        if one is None:
            await self._refuse(sent, self._fenced(sent) or "SEALED")
            return
        hand = self._hand
        if hand is not None:
            mine = hand.message
            if (one.run, one.seq, one.epoch) == (mine.run, mine.seq, mine.epoch):
                if _digest(one) != _digest(mine):
                    await self._refuse(one, "MALFORMED")
                else:
                    hand.askers.append(one.reply_to)
                return
            known = self._known(one)
            if known is None and one.epoch > mine.epoch:
                await self._cut("the robot was reserved again")
            elif known is None or known == "BUSY":
                await self._refuse(one, "BUSY")
                return
        known = self._known(one) or self._not_to_be_done(one)
        if isinstance(known, str):
            await self._refuse(one, known)
        elif known is not None:
            await self._answer(one, known, repeated=True)
        else:
            self._begin(one)

    def _opened(self, one: WorkerInstruction) -> WorkerInstruction | None:
        """The instruction with its arguments; none: they are sealed for another grant."""
        if one.sealed is None:
            return one
        assert self._key is not None
        try:
            args = open_args(self._key, one.sealed, worker=self.name, run=one.run, seq=one.seq, epoch=one.epoch)
        except SealBroken:
            return None
        return one.model_copy(update={"args": args, "sealed": None})

    def _fenced(self, one: WorkerInstruction) -> str | None:
        disk = self.disk
        stale = one.epoch < disk.epoch or (one.epoch == disk.epoch and one.run != disk.epoch_run)
        return "STALE_EPOCH" if stale else None

    def _known(self, one: WorkerInstruction) -> Reply | str | None:
        """A refusal, or what came of it before."""
        disk, fenced = self.disk, self._fenced(one)
        if fenced is not None:
            return fenced
        act = disk.acts.get((one.run, one.seq))
        if act is None:
            return None
        if act["digest"] != _digest(one):
            return "MALFORMED"
        return "BUSY" if act["reply"] is None else act["reply"]

    def _not_to_be_done(self, one: WorkerInstruction) -> str | None:
        run = self.disk.runs.get(one.run)
        if run is not None and run["epoch"] == one.epoch and run["state"] == "ended":
            return "RUN_ENDED"
        if run is not None and run["epoch"] == one.epoch and run["state"] == "lost":
            return "SESSION_LOST"
        seen = max(run["seq_max"] if run else 0, self._reads.get(one.run, 0))
        return "UNKNOWN_SEQ" if one.effect == "act" and one.seq <= seen else None

    def _begin(self, one: WorkerInstruction) -> None:
        disk = self.disk
        run = disk.runs.get(one.run)
        fresh = run is None or run["epoch"] < one.epoch
        if one.effect == "read" and not fresh:
            self._reads[one.run] = max(self._reads.get(one.run, 0), one.seq)
        else:
            disk.counter += 1
            if one.epoch > disk.epoch:
                disk.epoch, disk.epoch_run = one.epoch, one.run
                for other in disk.runs.values():
                    if other["state"] == "live":
                        other["state"] = "lost"
                self._reads.clear()
            seq_max = max(run["seq_max"] if run else 0, one.seq)
            disk.runs[one.run] = {"epoch": one.epoch, "state": "live", "seq_max": seq_max}
            if one.effect == "act":
                disk.acts[one.run, one.seq] = {"digest": _digest(one), "reply": None}
        self._hand = InHand(one, [one.reply_to])
        self._hand.work = self._loop.create_task(self._work(self._hand, self.life))

    async def _work(self, hand: InHand, life: Life) -> None:
        """The driver acts: something may happen before, and after it was done."""
        draw, faults = self._draw, self._faults
        drawn = draw.random()
        before_s, after_s = 0.003 + 0.03 * drawn, 0.001 + 0.02 * draw.random()
        if drawn > 0.97:
            after_s = min(hand.message.timeout_s, 8.0 * draw.random())
        await asyncio.sleep(before_s)
        if life.dead or self._hand is not hand:
            return
        if self._happens(hand, faults.driver_dies + faults.robot_dies):
            return
        outcome = self._outcome(hand.message)
        await asyncio.sleep(after_s)
        if not life.dead and self._hand is hand and not self._happens(hand, faults.driver_dies + faults.robot_dies):
            await self._finish(hand, outcome)

    def _happens(self, hand: InHand, rate: float) -> bool:
        """Whether driver or agent die just now."""
        if self._draw.random() >= rate:
            return False
        if self._draw.random() * rate < self._faults.robot_dies:
            self.life.die(f"agent in the middle of {hand.message.run} {hand.message.seq}")
        else:
            self._loop.create_task(self._cut("the driver process died while it was in hand", "DRIVER_FAILED"))
        return True

    def _outcome(self, one: WorkerInstruction) -> Reply:
        drawn = self._draw.random()
        if drawn < self._faults.errs:
            code = ERRORS[int(drawn / self._faults.errs * len(ERRORS))]
            return _failure("error", code, "as drawn", lost=False)
        if one.effect == "read":
            return {"outcome": "done", "value": int(drawn * 1000), "desktop": "kept", "evidence": drawn > 0.95}
        value = f"{ACT}{one.run[-8:]}/{one.seq}"
        self._effects.append(
            Effect(self.name, one.run, one.seq, one.epoch, one.task, one.phase, one.name, one.commit, value,
                   self._loop.time())
        )  # fmt: skip
        return {"outcome": "done", "value": value, "desktop": "kept", "evidence": drawn > 0.95}

    async def _finish(self, hand: InHand, outcome: Reply) -> None:
        """Write the outcome down, then tell everybody who asked."""
        one = hand.message
        if one.effect == "act":
            act = self.disk.acts.get((one.run, one.seq))
            if act is not None and act["reply"] is None:
                self.disk.counter += 1
                act["reply"] = outcome
        if outcome["desktop"] == "lost":
            self._lose(one.run)
        self._hand = None
        for asker in dict.fromkeys(reversed(hand.askers)):
            await self._answer(one.model_copy(update={"reply_to": asker}), outcome)

    async def _cut(self, text: str, code: str = "ABORTED") -> None:
        """Kill the driver, with what it has in hand."""
        hand = self._hand
        if hand is not None:
            outcome = "in_doubt" if hand.message.effect == "act" else "error"
            await self._finish(hand, _failure(outcome, code, text, lost=True))

    def _lose(self, run: str) -> None:
        one = self.disk.runs.get(run)
        if one is not None and one["state"] == "live":
            one["state"] = "lost"
            self.disk.counter += 1

    # control

    async def _on_control(self, message: Any, _: Delivery) -> None:
        disk = self.disk
        if isinstance(message, WorkerAbort):
            run = disk.runs.get(message.run)
            if message.epoch == disk.epoch and run is not None and run["state"] == "live":
                if self._hand is not None:
                    await self._cut(f"aborted: {message.reason}")
                self._lose(message.run)
        elif isinstance(message, WorkerRunEnded):
            await self._ended(message)

    async def _ended(self, message: WorkerRunEnded) -> None:
        disk = self.disk
        if self._hand is not None and self._hand.message.run == message.run:
            if message.epoch < self._hand.message.epoch:
                return
            await self._cut("the run was ended by the server")
        run = disk.runs.get(message.run)
        if run is not None and run["epoch"] > message.epoch:
            return
        disk.counter += 1
        disk.acts = {key: act for key, act in disk.acts.items() if key[0] != message.run}
        disk.runs[message.run] = {"epoch": message.epoch, "state": "ended", "seq_max": 0}
        if message.epoch > disk.epoch:
            disk.epoch, disk.epoch_run = message.epoch, message.run

    # answers

    async def _refuse(self, one: WorkerInstruction, code: str) -> None:
        await self._answer(one, _failure("refused", code, "refused", lost=False))

    async def _answer(self, one: WorkerInstruction, outcome: Reply, *, repeated: bool = False) -> None:
        run = self.disk.runs.get(one.run)
        lost = outcome["desktop"] == "lost" or (run is not None and run["state"] == "lost")
        error = outcome.get("error")
        reply = WorkerReply(
            worker=self.name, session=self._session, journal=self._position(), run=one.run, seq=one.seq,
            epoch=one.epoch, outcome=ReplyOutcome(outcome["outcome"]), value=outcome.get("value"),
            error=ReplyError(**error) if error else None, repeated=repeated,
            desktop=SessionState.LOST if lost else SessionState.KEPT,
            evidence=[_evidence(one)] if outcome.get("evidence") else [],
        )  # fmt: skip
        if self.broker is not None and self.broker.connected:
            key = reply_key(self.name, one.reply_to)
            await self.broker.send(WORKERS, key, reply, persistent=False, confirm=False)

    def _position(self) -> JournalPosition:
        return JournalPosition(id=self.disk.id, counter=self.disk.counter)


def _digest(one: WorkerInstruction) -> str:
    return repr((one.name, sorted(one.args.items()), one.effect, one.commit))


def _failure(outcome: str, code: str, message: str, *, lost: bool) -> Reply:
    error = {"code": code, "message": message}
    return {"outcome": outcome, "error": error, "desktop": "lost" if lost else "kept"}


def _evidence(one: WorkerInstruction) -> Evidence:
    data = f"picture of {one.name}".encode()
    return Evidence(
        name="shot", media_type="text/plain", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data),
        data=base64.b64encode(data).decode(),
    )  # fmt: skip
