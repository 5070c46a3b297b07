"""One phase of a run: the script's function from its first host call to its end, entry by entry.

Called by: runner.py. Survives a crash: every robot call is an entry before it is sent; the reply to it is stored with
the next entry. If the process dies between the two, the next executor sends the same (run, seq) again and the robot
answers from its journal. Change also: core/journal.py (what the entries mean), replay.py (walks the same entries
without a robot)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from services.executor.core import args as arguments
from services.executor.core.calls import (
    BusinessErrorCall,
    Call,
    ClockCall,
    LogCall,
    LoginRejectedCall,
    RobotCall,
    SecretCall,
    SleepCall,
    read_call,
)
from services.executor.core.ending import EndKind, PhaseEnd
from services.executor.core.journal import Phase
from services.executor.core.reply import Again, InDoubt, Raise, Resume, RobotLost, follow
from services.executor.interpreter import Failed, Returned, Session, Stopped, Turn, clock_answer
from services.executor.journal import Journal
from services.executor.robots import BUSY_PAUSE_S, Robots
from services.executor.store import StateTooLarge
from shared.contracts.catalogue import BadCall
from shared.contracts.messages import WorkerInstruction
from shared.domain.task_state import LOGIN_REJECTED
from shared.obs.clock import now
from shared.script.modules import secret_handle

SLEEP_S_MAX = 300.0
SLEEP_BEAT_S = 15.0
CUT_WAIT_S = 12.0
STOP_CODES = {"person": "ABORTED", "robot_lost": "ROBOT_LOST", "task_timeout": "TASK_TIMEOUT"}


@dataclass
class Signals:
    """What may come between two host calls, set by handlers and timers."""

    stop: asyncio.Future[dict[str, Any]]
    """Set when the run is to stop: {kind: person|robot_lost|task_timeout, reason, by}."""
    after_task: dict[str, Any] | None = None
    """Set when the run is to end after the task in hand."""
    cancelled: dict[str, str] = field(default_factory=dict)
    """Tasks that are to end at their next instruction, each with the command that asked for it."""


class PhaseRunner:
    """Drives one phase."""

    def __init__(
        self, journal: Journal, robots: Robots, signals: Signals, *, instruction_s: float, instructions_max: int
    ) -> None:
        self._journal = journal
        self._robots = robots
        self._signals = signals
        self._instruction_s = instruction_s
        self._instructions_max = instructions_max

    async def drive(self, session: Session, turn: Turn) -> PhaseEnd:
        """Answer host calls until the phase ends."""
        while True:
            self._journal.note_printed(session.printed())
            if isinstance(turn, Returned):
                return PhaseEnd(EndKind.RETURNED, output=turn.value)
            if isinstance(turn, Failed):
                return PhaseEnd(
                    EndKind.SYSTEM, code=turn.code, message=turn.message, line=turn.line, traceback=turn.traceback
                )
            following = await self._answer(session, turn)
            if isinstance(following, PhaseEnd):
                return following
            turn = following

    async def go_on(self, session: Session, entry: dict[str, Any]) -> PhaseEnd:
        """Ask again what the last entry asked, then drive to the end."""
        following = await self._perform(session, entry)
        return following if isinstance(following, PhaseEnd) else await self.drive(session, following)

    async def _answer(self, session: Session, stopped: Stopped) -> Turn | PhaseEnd:
        try:
            call = read_call(
                stopped.function, stopped.args, stopped.kwargs, is_os=stopped.is_os, instruction_s=self._instruction_s
            )
            if isinstance(call, RobotCall):
                return await self._instruct(session, call, stopped)
        except BadCall as error:
            return await session.throw(ValueError(f"BAD_ARGUMENT: {error}"))
        return await self._serve(session, call, stopped.line)

    async def _serve(self, session: Session, call: Call, line: int | None) -> Turn | PhaseEnd:
        """Answer what the server itself answers."""
        if isinstance(call, BusinessErrorCall):
            return PhaseEnd(EndKind.BUSINESS, code="BUSINESS", message=call.message, line=line)
        if isinstance(call, LoginRejectedCall):
            return PhaseEnd(EndKind.SYSTEM, code=LOGIN_REJECTED, message=call.message, line=line)
        if isinstance(call, LogCall):
            self._journal.note_log(call.level, call.message, call.fields, line)
            return await session.resume(None)
        if isinstance(call, SecretCall):
            return await session.resume(secret_handle(call.name))
        if isinstance(call, ClockCall):
            at = now()
            self._journal.note_answer(at)
            return await session.resume(clock_answer(call.function, at))
        assert isinstance(call, SleepCall)
        return await self._sleep(session, call.seconds)

    async def _sleep(self, session: Session, seconds: float) -> Turn | PhaseEnd:
        if not 0 <= seconds <= SLEEP_S_MAX:
            return await session.throw(ValueError(f"BAD_ARGUMENT: a script may sleep for 0 to {SLEEP_S_MAX:.0f} s"))
        left_s = seconds
        while left_s > 0 and not self._signals.stop.done():
            await asyncio.wait({self._signals.stop}, timeout=min(left_s, SLEEP_BEAT_S))
            left_s -= SLEEP_BEAT_S
            if left_s > 0:
                await self._journal.touch()  # a script that sleeps is no run that hangs
        return self._stopped_end() or await session.resume(None)

    async def _instruct(self, session: Session, call: RobotCall, stopped: Stopped) -> Turn | PhaseEnd:
        """Store an instruction, send it, and go on with what follows from the reply."""
        line = stopped.line
        ended = self._stopped_end() or self._cancelled_end(line)
        if ended is not None:
            return ended
        if self._journal.instructions >= self._instructions_max:
            return PhaseEnd(
                EndKind.SYSTEM,
                code="SCRIPT_LIMIT",
                message=f"more than {self._instructions_max} instructions",
                line=line,
            )
        plain = arguments.checked(call.args)
        instruction = {
            "name": call.instruction.name, "args": plain, "effect": call.instruction.effect, "commit": call.commit,
            "timeout_s": call.timeout_s, "line": line, "function": stopped.caller,
        }  # fmt: skip
        try:
            entry = await self._journal.add_instruction(instruction, session.dump_stop())
        except StateTooLarge as error:
            return PhaseEnd(EndKind.SYSTEM, code="SCRIPT_LIMIT", message=str(error), line=line)
        return await self._perform(session, entry)

    async def _perform(self, session: Session, entry: dict[str, Any]) -> Turn | PhaseEnd:
        """Have the robot do what an entry asks, and feed the script with what follows."""
        line = entry["instruction"].get("line")
        try:
            message = await self._message(entry)
        except BadCall as error:
            self._journal.note_local_error(entry, "NOT_FOUND", str(error))
            return await session.throw(LookupError(f"NOT_FOUND: {error}"))
        while True:
            reply = await self._robots.ask(message, self._signals.stop)
            if reply is None:
                return await self._cut(message, line)
            following = follow(reply)
            if not isinstance(following, Again):
                break
            await asyncio.wait({self._signals.stop}, timeout=BUSY_PAUSE_S)
        await self._journal.note_reply(reply)
        if isinstance(following, Resume):
            return await session.resume(following.value)
        if isinstance(following, Raise):
            return await session.throw(following.exception)
        return _lost_or_doubt(following, line)

    async def _message(self, entry: dict[str, Any]) -> WorkerInstruction:
        """The message for an entry; secrets are opened here, for this message only."""
        stored = entry["instruction"]["args"]
        secrets = {name: await self._journal.secret(name) for name in arguments.secret_names(stored)}
        resolved = arguments.resolve(stored, self._journal.objects, secrets)
        return self._robots.instruction(run=self._journal.run, entry=entry, args=resolved)

    async def _cut(self, message: WorkerInstruction, line: int | None) -> PhaseEnd:
        """The run was stopped while an instruction was in flight."""
        stop = self._signals.stop.result()
        code, text = STOP_CODES[stop["kind"]], str(stop["reason"])
        if stop["kind"] == "robot_lost":
            return PhaseEnd(EndKind.SYSTEM, code=code, message=text, line=line, robot_lost=True)
        reply = await self._robots.cut(message, text, CUT_WAIT_S)
        if reply is None:
            return PhaseEnd(
                EndKind.SYSTEM, code=code, message=f"{text}; the robot did not answer", line=line, robot_lost=True
            )
        await self._journal.note_reply(reply)
        following = follow(reply)
        lost = isinstance(following, RobotLost) or (isinstance(following, InDoubt) and following.desktop_lost)
        return PhaseEnd(EndKind.SYSTEM, code=code, message=text, line=line, robot_lost=lost)

    def _stopped_end(self) -> PhaseEnd | None:
        if not self._signals.stop.done():
            return None
        stop = self._signals.stop.result()
        return PhaseEnd(
            EndKind.SYSTEM,
            code=STOP_CODES[stop["kind"]],
            message=str(stop["reason"]),
            robot_lost=stop["kind"] == "robot_lost",
        )

    def _cancelled_end(self, line: int | None) -> PhaseEnd | None:
        if self._journal.phase is Phase.TASK and self._journal.task in self._signals.cancelled:
            return PhaseEnd(EndKind.CANCELLED, code="CANCELLED", message="cancelled while it ran", line=line)
        return None


def _lost_or_doubt(following: Again | InDoubt | RobotLost, line: int | None) -> PhaseEnd:
    if isinstance(following, InDoubt):
        return PhaseEnd(
            EndKind.IN_DOUBT, code="IN_DOUBT", message=following.text, line=line, robot_lost=following.desktop_lost
        )
    assert isinstance(following, RobotLost)
    return PhaseEnd(EndKind.SYSTEM, code="ROBOT_LOST", message=following.text, line=line, robot_lost=True)
