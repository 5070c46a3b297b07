"""Has an instruction performed: by the robot, by the server, or by waiting, as its name says.

Called by: phase.py, for an entry that was stored before. Survives a crash: the entry. After one, a robot is asked
again under the same (run, seq) and answers from its journal; a wait goes on; a read of the server's is done again; an
act of the server's that nobody answered is in doubt, because the server has no second journal to ask.
Change also: replay.py (walks the same entries without performing them)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.executor.core.calls import Place, place_of
from services.executor.core.ending import EndKind, PhaseEnd
from services.executor.core.pacing import Planned
from services.executor.core.pacing import place_of as spot_of
from services.executor.core.reply import (
    Again,
    Answer,
    InDoubt,
    RobotLost,
    answer_of,
    failed,
    follow,
    in_doubt,
    is_unopened,
)
from services.executor.journal import Journal
from services.executor.pacing import paced
from services.executor.robots import BUSY_PAUSE_S, PARTS
from services.executor.sealing import Unsealable
from services.executor.secrets import Opened
from services.executor.server import Order
from services.executor.signals import STOP_CODES, Signals
from services.executor.spans import RunSpans
from services.executor.tools import Tools
from services.executor.waiting import BEAT_S, Waiting
from shared.contracts.catalogue import BadCall
from shared.contracts.messages import WorkerInstruction
from shared.obs.clock import monotonic_s, now

CUT_WAIT_S = 12.0
SEALED_TIMES = 8
"""How often an instruction is sealed anew for a robot that can't open it, before the script hears of it."""


class Performer:
    """Performs the instructions of one run."""

    def __init__(self, journal: Journal, waiting: Waiting, tools: Tools, spans: RunSpans) -> None:
        self._journal = journal
        self._waiting = waiting
        self._robots = tools.robots
        self._server = tools.server
        self._secrets = tools.secrets
        self._sealing = tools.sealing
        self._matches = tools.matches
        self._pacing = tools.pacing
        self._spans = spans

    async def perform(
        self, entry: Mapping[str, Any], signals: Signals, *, again: bool, asked_s: float | None = None
    ) -> Answer | PhaseEnd:
        """The answer to an entry's instruction, noted for the next entry; or the end of the phase, when the run is to
        stop.

        again: it was stored by an earlier try, and may have been performed. asked_s: when the script asked for it, on
        the monotonic clock; none: not in this process. Raises: Park.
        """
        with self._spans.of_instruction(int(entry["seq"])):
            answer = await self._performed(entry, signals, again=again, asked_s=asked_s)
        self._spans.instruction_ended(entry, answer if isinstance(answer, Answer) else None, again=again)
        return answer

    async def _performed(
        self, entry: Mapping[str, Any], signals: Signals, *, again: bool, asked_s: float | None
    ) -> Answer | PhaseEnd:
        match place_of(entry["instruction"]["name"]):
            case Place.ROBOT:
                return await self._robot(entry, signals, asked_s, again=again)
            case Place.WAIT:
                return await self._wait(entry, signals)
            case Place.SERVER:
                return await self._serve(entry, signals, again=again)

    # robots

    async def _robot(
        self, entry: Mapping[str, Any], signals: Signals, asked_s: float | None, *, again: bool
    ) -> Answer | PhaseEnd:
        if self._journal.run.get("worker") is None:
            return await self._note(failed(entry["seq"], "NOT_ALLOWED", "this scenario has no robot", local=True))
        try:
            opened = await self._opened(entry)
            clear = self._robots.instruction(run=self._journal.run, entry=entry, args=opened.args)
            planned = self._plan(entry, clear)
            clear = paced(clear, planned)
            message = await self._sealing.sealed(clear) if opened.sealed else clear
        except (BadCall, Unsealable) as error:
            return await self._note(_unsendable(entry, error, again=again))
        sealed_times = 1
        if asked_s is not None:
            PARTS.labels("server").observe(monotonic_s() - asked_s)
        while True:
            trip = self._spans.to_robot(int(entry["seq"]))
            reply = await self._robots.ask(message, signals.stop)
            trip.answered = now()
            if reply is None:
                return await self._cut(message, signals, entry["instruction"].get("line"))
            answer = answer_of(reply)
            if is_unopened(answer) and sealed_times < SEALED_TIMES:
                sealed_times += 1
                message = await self._sealed_again(clear, message)
            elif not isinstance(follow(answer), Again):
                self._learn(entry, planned, answer)
                return await self._note(answer)
            await asyncio.wait({signals.stop}, timeout=BUSY_PAUSE_S)

    async def _sealed_again(self, clear: WorkerInstruction, before: WorkerInstruction) -> WorkerInstruction:
        """The message for a robot that could not open the one before: it may have been authorised anew meanwhile."""
        try:
            return await self._sealing.sealed(clear)
        except Unsealable:
            return before

    async def _opened(self, entry: Mapping[str, Any]) -> Opened:
        """The arguments with the values of secrets and the selectors of objects.

        Raises: BadCall.
        """
        asked = entry["instruction"]
        return await self._secrets.resolve(
            self._journal.run["account"], asked["args"], objects=self._journal.objects, asked_at=entry["at"],
            name=asked["name"], environment=self._journal.run.get("environment"),
        )  # fmt: skip

    def _plan(self, entry: Mapping[str, Any], message: WorkerInstruction) -> Planned:
        """How this instruction waits, as was learned at its place of the script."""
        run, asked = self._journal.run, entry["instruction"]
        return self._pacing.plan(
            run["account"], run["workflow"], spot_of(asked), message.worker, message.name, asked["args"],
            timeout_s=message.timeout_s, run=run["_id"],
        )  # fmt: skip

    def _learn(self, entry: Mapping[str, Any], planned: Planned, answer: Answer) -> None:
        """Keep what the answer says about waiting, and about the object that was looked for."""
        self._pacing.note(
            planned, outcome=str(answer.outcome), code=answer.error.code if answer.error else "",
            found_s=answer.more.get("found_s"), duration_s=answer.duration_s, value=answer.value,
            repeated=answer.repeated,
        )  # fmt: skip
        self._matches.note_reply(
            self._journal.run, entry["instruction"], self._journal.objects, outcome=str(answer.outcome),
            code=answer.error.code if answer.error else None, matched=answer.more.get("matched"),
        )  # fmt: skip

    async def _cut(self, message: WorkerInstruction, signals: Signals, line: int | None) -> PhaseEnd:
        """The run was stopped while an instruction was in flight."""
        stop = signals.stop.result()
        text = str(stop["reason"])
        if stop["kind"] == "robot_lost":
            return stopped_end(signals, line, robot_lost=True)
        reply = await self._robots.cut(message, text, CUT_WAIT_S)
        if reply is None:
            silent = f"{text}; the robot did not answer"
            return stopped_end(signals, line, robot_lost=True, text=silent)
        answer = answer_of(reply)
        await self._note(answer)
        following = follow(answer)
        lost = isinstance(following, RobotLost) or (isinstance(following, InDoubt) and following.desktop_lost)
        return stopped_end(signals, line, robot_lost=lost)

    # waits

    async def _wait(self, entry: Mapping[str, Any], signals: Signals) -> Answer | PhaseEnd:
        line = entry["instruction"].get("line")
        if not signals.stop.done() and signals.is_cancelled(self._journal):
            return cancelled_end(line)
        answer = await self._waiting.perform(entry, signals.stop)
        if answer is None:
            return stopped_end(signals, line)
        return await self._note(answer)

    # the server's own

    async def _serve(self, entry: Mapping[str, Any], signals: Signals, *, again: bool) -> Answer | PhaseEnd:
        asked = entry["instruction"]
        if again and asked["effect"] == "act":
            text = f"{asked['name']} was begun by an executor that is gone; nobody knows whether it was done"
            return await self._note(in_doubt(entry["seq"], text))
        try:
            order = Order.of(self._journal.run, entry, await self._opened(entry))
        except BadCall as error:
            return await self._note(failed(entry["seq"], "NOT_FOUND", str(error), local=True))
        work = asyncio.create_task(self._server.perform(order))
        try:
            await self._until_done(work, signals)
        finally:
            work.cancel()
            await asyncio.wait({work})
        if not work.cancelled():
            return await self._note(work.result())
        if asked["effect"] == "act":
            await self._note(in_doubt(entry["seq"], f"{asked['name']} was cut off; nobody knows whether it was done"))
        return stopped_end(signals, asked.get("line"))

    async def _until_done(self, work: asyncio.Task[Answer], signals: Signals) -> None:
        """Wait for the work, or for the run's stop; show meanwhile that the run goes on."""
        while not work.done() and not signals.stop.done():
            both: set[asyncio.Future[Any]] = {work, signals.stop}
            await asyncio.wait(both, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await self._journal.touch()

    async def _note(self, answer: Answer) -> Answer:
        await self._journal.note_reply(answer)
        return answer


def _unsendable(entry: Mapping[str, Any], error: BadCall | Unsealable, *, again: bool) -> Answer:
    """The answer to an instruction that can't be sent; an act that an earlier try may have sent is in doubt."""
    if again and entry["instruction"]["effect"] == "act":
        return in_doubt(entry["seq"], f"it may have been sent before, and can't be sent again: {error}")
    code = "NOT_ALLOWED" if isinstance(error, Unsealable) else "NOT_FOUND"
    return failed(entry["seq"], code, str(error), local=True)


def stopped_end(
    signals: Signals, line: int | None = None, *, robot_lost: bool | None = None, text: str | None = None
) -> PhaseEnd:
    """The end of a phase whose run is to stop. robot_lost: whether its desktop is gone, if more is known than why."""
    stop = signals.stop.result()
    lost = stop["kind"] == "robot_lost" if robot_lost is None else robot_lost
    message = text if text is not None else str(stop["reason"])
    return PhaseEnd(EndKind.SYSTEM, code=STOP_CODES[stop["kind"]], message=message, line=line, robot_lost=lost)


def cancelled_end(line: int | None) -> PhaseEnd:
    """The end of a task that was cancelled."""
    return PhaseEnd(EndKind.CANCELLED, code="CANCELLED", message="cancelled while it ran", line=line)
