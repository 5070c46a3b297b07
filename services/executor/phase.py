"""One phase of a run: the script's function from its first host call to its end, entry by entry.

Called by: scripts.py. Survives a crash: everything that takes time or has an effect is an entry before it begins; the
reply to it is stored with the next entry. If the process dies between the two, the next executor has the same entry
performed again. Change also: performing.py, core/journal.py (what the entries mean), replay.py (walks the same entries
without performing them)."""

from __future__ import annotations

import asyncio
from typing import Any

from services.executor.core import args as arguments
from services.executor.core.calls import (
    Call,
    ClockCall,
    CodeCall,
    LogCall,
    NotedCall,
    SecretCall,
    WaitCall,
    noted_call,
    read_call,
)
from services.executor.core.ending import EndKind, PhaseEnd, called_end
from services.executor.core.reply import Answer, InDoubt, Raise, Resume, RobotLost, follow
from services.executor.core.waits import DECIDE, NOTED_FROM_S
from services.executor.interpreter import Failed, Returned, Session, Stopped, Turn, clock_answer
from services.executor.journal import Journal
from services.executor.limits import RunLimits
from services.executor.performing import Performer, cancelled_end, stopped_end
from services.executor.signals import Signals
from services.executor.store import StateTooLarge
from shared.contracts.catalogue import BadCall
from shared.obs.clock import monotonic_s, now
from shared.script.modules import secret_handle, totp_handle


class PhaseRunner:
    """Drives one phase."""

    def __init__(
        self, journal: Journal, performer: Performer, signals: Signals, *, instruction_s: float, limits: RunLimits
    ) -> None:
        self._journal = journal
        self._performer = performer
        self._signals = signals
        self._instruction_s = instruction_s
        self._limits = limits

    async def drive(self, session: Session, turn: Turn) -> PhaseEnd:
        """Answer host calls until the phase ends.

        Raises: Park when the run is to be put away meanwhile.
        """
        while True:
            self._journal.note_printed(session.printed())
            self._journal.note_calls(session.calls())
            if isinstance(turn, Returned):
                return PhaseEnd(EndKind.RETURNED, output=turn.value)
            if isinstance(turn, Failed):
                return PhaseEnd(
                    EndKind.SYSTEM, code=turn.code, message=turn.message, line=turn.line, traceback=turn.traceback
                )
            too_many = self._limits.exceeded(calls=self._journal.calls)
            if too_many is not None:
                return _limit(too_many, turn.line)
            following = await self._answer(session, turn)
            if isinstance(following, PhaseEnd):
                return following
            turn = following

    async def go_on(self, session: Session, entry: dict[str, Any]) -> PhaseEnd:
        """Have performed what the last entry asked, then drive to the end."""
        following = await self._perform(session, entry, again=True)
        return following if isinstance(following, PhaseEnd) else await self.drive(session, following)

    async def _answer(self, session: Session, stopped: Stopped) -> Turn | PhaseEnd:
        try:
            call = read_call(
                stopped.function, stopped.args, stopped.kwargs, is_os=stopped.is_os, instruction_s=self._instruction_s
            )
            noted = noted_call(call, phase=str(self._journal.phase), noted_from_s=NOTED_FROM_S)
            if noted is not None:
                return await self._instruct(session, noted, stopped)
        except BadCall as error:
            return await session.throw(ValueError(f"BAD_ARGUMENT: {error}"))
        return await self._serve(session, call, stopped.line)

    async def _serve(self, session: Session, call: Call, line: int | None) -> Turn | PhaseEnd:
        """Answer at once what takes no time and has no effect."""
        ended = called_end(call, line)
        if ended is not None:
            return ended
        if isinstance(call, LogCall):
            self._journal.note_log(call.level, call.message, call.fields, line)
            return await session.resume(None)
        if isinstance(call, SecretCall):
            return await session.resume(secret_handle(call.name))
        if isinstance(call, CodeCall):
            return await session.resume(totp_handle(call.name))
        if isinstance(call, ClockCall):
            at = now()
            self._journal.note_answer(at)
            return await session.resume(clock_answer(call.function, at))
        assert isinstance(call, WaitCall)
        await asyncio.wait({self._signals.stop}, timeout=call.seconds)
        return self._stopped_end(line) or await session.resume(None)

    async def _instruct(self, session: Session, call: NotedCall, stopped: Stopped) -> Turn | PhaseEnd:
        """Store what is asked for, have it performed, and go on with what follows from the answer."""
        line, asked_s = stopped.line, monotonic_s()
        ended = self._stopped_end(line)
        if ended is None and self._signals.is_cancelled(self._journal):
            ended = cancelled_end(line)
        standing = self._journal.standing
        refusal = self._limits.refusal(
            instructions=standing.instructions, decisions=standing.decisions, asks=call.name == DECIDE
        )
        if ended is None and refusal is not None:
            ended = _limit(refusal, line)
        if ended is not None:
            return ended
        instruction = {
            "name": call.name, "args": arguments.checked(call.args, call.size_bytes_max), "effect": call.effect,
            "commit": call.commit, "timeout_s": call.timeout_s, "line": line, "function": stopped.caller,
        }  # fmt: skip
        try:
            entry = await self._journal.add_instruction(instruction, session.dump_stop())
        except StateTooLarge as error:
            return _limit(str(error), line)
        return await self._perform(session, entry, again=False, asked_s=asked_s)

    async def _perform(
        self, session: Session, entry: dict[str, Any], *, again: bool, asked_s: float | None = None
    ) -> Turn | PhaseEnd:
        """Have an entry performed, and feed the script with what follows."""
        answer = await self._performer.perform(entry, self._signals, again=again, asked_s=asked_s)
        if isinstance(answer, PhaseEnd):
            return answer
        following = follow(answer)
        if isinstance(following, Resume):
            return await session.resume(following.value)
        if isinstance(following, Raise):
            return await session.throw(following.exception)
        return _ended(following, answer, entry["instruction"].get("line"))

    def _stopped_end(self, line: int | None) -> PhaseEnd | None:
        return stopped_end(self._signals, line) if self._signals.stop.done() else None


def _limit(text: str, line: int | None) -> PhaseEnd:
    return PhaseEnd(EndKind.SYSTEM, code="SCRIPT_LIMIT", message=text, line=line)


def _ended(following: Any, answer: Answer, line: int | None) -> PhaseEnd:
    """The end that doubt, or the loss of the desktop, is."""
    if isinstance(following, InDoubt):
        return PhaseEnd(
            EndKind.IN_DOUBT, code="IN_DOUBT", message=following.text, line=line, robot_lost=following.desktop_lost
        )
    assert isinstance(following, RobotLost), f"seq {answer.seq}: {following}"
    return PhaseEnd(EndKind.SYSTEM, code="ROBOT_LOST", message=following.text, line=line, robot_lost=True)
