"""A robot that answers instructions by a table, without a desktop.

Called by: tests of the executor and the simulator. Survives a crash: nothing, but it keeps the rules that a real
agent's journal keeps: the same (run, seq) is answered with the same reply, a lower epoch is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.broker.delivery import Delivery
from shared.contracts.messages import (
    JournalPosition,
    ReplyError,
    ReplyOutcome,
    SessionState,
    WorkerInstruction,
    WorkerReply,
)
from shared.contracts.topology import WORKERS, instructions_queue, reply_key
from shared.obs.ids import uuid7
from shared.seal import SealBroken
from shared.seal.instructions import open_args

Answer = Callable[[WorkerInstruction], Any]
"""Returns the value of a done instruction; raises an `InstructionFailed` for another outcome."""


class InstructionFailed(Exception):
    """An answer other than done."""

    def __init__(
        self,
        outcome: ReplyOutcome,
        code: str,
        message: str = "as the table says",
        desktop: SessionState = SessionState.KEPT,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.error = ReplyError(code=code, message=message)
        self.desktop = desktop


class FakeRobot:
    """One robot on a broker (stub or real).

    table: what each instruction (by catalogue name) answers: a value, or a function of the instruction. Those that
    are missing answer None. done: the instructions that took effect, in order; asked: all that arrived.
    """

    def __init__(self, broker: Any, worker: str, table: Mapping[str, Any] | None = None) -> None:
        self.worker = worker
        self.table = dict(table or {})
        self.asked: list[WorkerInstruction] = []
        self.done: list[WorkerInstruction] = []
        self.key: str | None = None
        """Opens what is sealed to it; none: it opens nothing."""
        self.silent = False
        """True: it takes instructions and answers nothing, as a robot without network does."""
        self._broker = broker
        self._session = uuid7()
        self._journal = uuid7()
        self._counter = 0
        self._epoch = 0
        self._replies: dict[tuple[str, int], WorkerReply] = {}
        self._consumer: Any = None

    async def start(self) -> None:
        """Listen to its instructions."""
        self._consumer = await self._broker.consume(
            instructions_queue(self.worker), self.on_worker_instruction, prefetch=1
        )

    async def stop(self) -> None:
        """Listen no more."""
        if self._consumer is not None:
            await self._consumer.cancel()
            self._consumer = None

    async def on_worker_instruction(self, instruction: WorkerInstruction, _: Delivery) -> None:
        """Do it once, answer it every time."""
        self.asked.append(instruction)
        reply = self._reply_to(self._opened(instruction))
        if not self.silent:
            key = reply_key(self.worker, instruction.reply_to)
            await self._broker.send(WORKERS, key, reply, persistent=False, confirm=False)

    def _opened(self, one: WorkerInstruction) -> WorkerInstruction:
        """The instruction with its arguments; as it came when they can't be opened."""
        if one.sealed is None or self.key is None:
            return one
        try:
            args = open_args(self.key, one.sealed, worker=self.worker, run=one.run, seq=one.seq, epoch=one.epoch)
        except SealBroken:
            return one
        return one.model_copy(update={"args": args, "sealed": None})

    def _reply_to(self, instruction: WorkerInstruction) -> WorkerReply:
        known = self._replies.get((instruction.run, instruction.seq))
        if known is not None:
            return known.model_copy(update={"repeated": True})
        if instruction.epoch < self._epoch:
            error = ReplyError(code="STALE_EPOCH", message=f"epoch {self._epoch} was seen")
            return self._made(instruction, ReplyOutcome.REFUSED, error=error)
        if instruction.sealed is not None:
            error = ReplyError(code="SEALED", message="sealed for another key")
            return self._made(instruction, ReplyOutcome.REFUSED, error=error)
        self._epoch = instruction.epoch
        self._counter += 1
        reply = self._act(instruction)
        self._replies[instruction.run, instruction.seq] = reply
        return reply

    def _act(self, instruction: WorkerInstruction) -> WorkerReply:
        answer = self.table.get(instruction.name)
        try:
            value = answer(instruction) if callable(answer) else answer
        except InstructionFailed as failed:
            return self._made(instruction, failed.outcome, error=failed.error, desktop=failed.desktop)
        self.done.append(instruction)
        return self._made(instruction, ReplyOutcome.DONE, value=value)

    def _made(self, instruction: WorkerInstruction, outcome: ReplyOutcome, **more: Any) -> WorkerReply:
        return WorkerReply(
            worker=self.worker,
            session=self._session,
            journal=JournalPosition(id=self._journal, counter=self._counter),
            run=instruction.run,
            seq=instruction.seq,
            epoch=instruction.epoch,
            outcome=outcome,
            **more,
        )
