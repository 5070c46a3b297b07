"""Instructions out, replies in: the executor's side of the conversation with robots.

Owns: the table of awaited replies, re-sending, and this instance's reply queue. Called by: phase.py (asks),
handlers.py (replies). Survives a crash: nothing here. To the executor silence means 'send again', never an error: the
next executor asks again and the robot answers from its journal. Who gives up is the robot (its own timeout), the
scheduler (the robot is lost), or a person."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.executor.core.journal import Phase
from shared.broker import Broker
from shared.contracts.envelope import Message
from shared.contracts.messages import BlobTarget, WorkerAbort, WorkerInstruction, WorkerReply, WorkerRunEnded
from shared.contracts.topology import control_queue, instructions_queue
from shared.errors import TemporaryError
from shared.obs.metrics import counter, histogram
from shared.seal import Sealer

RESENT = counter("regente_instructions_resent_total", "Instructions sent again after silence.", [])
SECONDS = histogram("regente_instruction_seconds", "From sending an instruction to its reply.", ["module"])
PARTS = histogram(
    "regente_instruction_part_seconds",
    "Parts of an instruction's time: server (until it is sent), queue (there and back), robot (its own work).",
    ["part"],
)
DISCONNECTED_PAUSE_S = 0.3
BUSY_PAUSE_S = 0.5
PHASES_TOLD = {Phase.KEEPALIVE: Phase.SETUP}
"""Robots know setup, task and teardown; to them a session that is kept alive is one that is being prepared."""


class Robots:
    """Sends instructions and hands replies to whoever waits for them."""

    def __init__(self, broker: Broker, sealer: Sealer, *, executor: str, url: str, resend_s: float) -> None:
        self._broker = broker
        self._sealer = sealer
        self._executor = executor
        self._url = url
        self._resend_s = resend_s
        self._awaited: dict[tuple[str, int], asyncio.Future[WorkerReply]] = {}

    def instruction(
        self, *, run: Mapping[str, Any], entry: Mapping[str, Any], args: dict[str, Any]
    ) -> WorkerInstruction:
        """The message for a stored instruction, with the values of its arguments."""
        stored = entry["instruction"]
        return WorkerInstruction(
            worker=run["worker"], run=run["_id"], seq=entry["seq"], epoch=run["epoch"], task=entry.get("task"),
            phase=PHASES_TOLD.get(entry["phase"], entry["phase"]), name=stored["name"], args=args,
            effect=stored["effect"], commit=stored["commit"],
            timeout_s=stored["timeout_s"], line=stored.get("line"), reply_to=self._executor,
            blobs=BlobTarget(url=self._url, token=blob_token(self._sealer, run["_id"])),
        )  # fmt: skip

    async def ask(self, message: WorkerInstruction, stop: asyncio.Future[Any]) -> WorkerReply | None:
        """Send an instruction until it is answered; None when `stop` came first."""
        loop = asyncio.get_running_loop()
        awaited = self._awaited.setdefault((message.run, message.seq), loop.create_future())
        started = loop.time()
        sent_before = False
        try:
            while not awaited.done() and not stop.done():
                if sent_before:
                    RESENT.inc()
                sent_before = True
                sent = await self._send(instructions_queue(message.worker).name, message)
                pause = self._resend_s if sent else DISCONNECTED_PAUSE_S
                await asyncio.wait({awaited, stop}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if not awaited.done():
                return None
            reply, whole_s = awaited.result(), loop.time() - started
            SECONDS.labels(message.name.partition(".")[0]).observe(whole_s)
            if not reply.repeated:  # else what the robot worked lies in the time of whoever asked before
                PARTS.labels("robot").observe(reply.duration_s)
                PARTS.labels("queue").observe(max(0.0, whole_s - reply.duration_s))
            return reply
        finally:
            self._awaited.pop((message.run, message.seq), None)

    async def cut(self, message: WorkerInstruction, reason: str, wait_s: float) -> WorkerReply | None:
        """Have the robot kill what it is doing for this instruction; its reply, if one comes in time."""
        loop = asyncio.get_running_loop()
        awaited = self._awaited.setdefault((message.run, message.seq), loop.create_future())
        deadline = loop.time() + wait_s
        abort = WorkerAbort(worker=message.worker, run=message.run, epoch=message.epoch, reason=reason[:500])
        try:
            while not awaited.done() and loop.time() < deadline:
                await self._send(control_queue(message.worker).name, abort)
                await self._send(instructions_queue(message.worker).name, message)
                await asyncio.wait({awaited}, timeout=min(self._resend_s, max(0.0, deadline - loop.time())))
            return awaited.result() if awaited.done() else None
        finally:
            self._awaited.pop((message.run, message.seq), None)

    async def run_ended(self, run: Mapping[str, Any]) -> None:
        """Tell the robot that a run is over; a lost message costs some disk on the robot, no more."""
        ended = WorkerRunEnded(worker=run["worker"], run=run["_id"], epoch=run["epoch"])
        await self._send(control_queue(run["worker"]).name, ended)

    def answered(self, reply: WorkerReply) -> bool:
        """Hand a reply to who waits for it; false when nobody does."""
        awaited = self._awaited.get((reply.run, reply.seq))
        if awaited is None:
            return False
        if not awaited.done():
            awaited.set_result(reply)
        return True

    async def _send(self, queue: str, message: Message) -> bool:
        try:
            await self._broker.send("", queue, message, persistent=False, confirm=False)
        except TemporaryError:
            return False
        return True


def blob_token(sealer: Sealer, run: str) -> str:
    """Bearer token with which the robot of a run may PUT blobs; good while the run lives."""
    return f"{run}.{sealer.derive('blob', run)}"
