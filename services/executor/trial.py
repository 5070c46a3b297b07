"""A run that was, played again with the files of a new version, to show where that would have acted otherwise.

Called by: trial_requests.py (requests), tests/replay (golden journals). It performs nothing and writes nothing: what
it needs is read before, and there is neither a robot nor a database in its hands. Survives a crash: nothing; it is
asked for again. Change also: core/trial.py (the comparison), scripts.py (what each phase begins from).

Each phase begins as the executor would begin it: setup from the script as it is loaded; tasks, keep-alives and
teardown from the state that *this trial's* setup left, because the new script's setup may leave another one. So what
setup does decides about the rest:

- It returns, as it did or earlier or later than it did: its state is the one that tasks would begin from, so the rest
  is tried.
- It fails now: no task would begin, so none is tried; teardown is, from the script as it is loaded, as after any setup
  that failed.
- It asks for something else than it did: nobody knows what the robot would have answered, so there is no state that the
  rest could begin from. Trying tasks from a guessed state would report differences that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.executor.core.calls import NotedCall
from services.executor.core.ending import EndKind, PhaseEnd, called_end
from services.executor.core.journal import Phase
from services.executor.core.plays import Asked, Ended, Play, ended_now
from services.executor.core.reply import Resume
from services.executor.core.trial import Finding, Verdict, Walk, elsewhere
from services.executor.interpreter import Failed, Interpreter, Returned, Session, SnapshotUnreadable, Stopped, Turn
from services.executor.replay import next_call
from services.executor.scripts import phase_call
from shared.obs.clock import monotonic_s
from shared.script.inputs import InputCheck

TRIAL_S = 20.0
Tried = list[tuple[Play, Finding]]


@dataclass(frozen=True)
class Past:
    """A run that was."""

    run: Mapping[str, Any]
    plays: Sequence[Play]
    inputs: Mapping[str, Mapping[str, Any]]
    """Of its tasks, by their ids; one that is missing is not tried."""


class _TimeStands(Exception):
    """The script waits for a time that the journal does not know."""


class Trial:
    """One run against one version. version: {files, scenarios, objects, input, timeouts}, as a version's document."""

    def __init__(
        self, interpreter: Interpreter, past: Past, version: Mapping[str, Any], *, time_s: float = TRIAL_S
    ) -> None:
        self._interpreter = interpreter
        self._past = past
        self._version = version
        self._time_s = time_s
        self._check = InputCheck(version.get("input") or {})
        self._scenario = next(one for one in version["scenarios"] if one["name"] == past.run["scenario"])
        self._base: bytes | None = None
        self._no_base = ""
        """Why nothing can be tried from the state that setup left."""
        self._failed = False
        """Whether setup fails now where it did not: no task would begin."""

    async def run(self) -> Tried:
        """What the version would have done, phase by phase; what there was no time for is unknown."""
        until_s = monotonic_s() + self._time_s
        found: Tried = []
        for play in self._past.plays:
            try:
                async with asyncio.timeout(max(0.0, until_s - monotonic_s())):
                    found.append((play, await self._try(play)))
            except TimeoutError:
                found.append((play, Finding(Verdict.UNKNOWN, note=f"the {self._time_s:g} s of a replay were over")))
                if play.phase is Phase.SETUP and self._base is None:
                    self._no_base = "setup could not be played to its end"
        return found

    async def _try(self, play: Play) -> Finding:
        first_setup = play.phase is Phase.SETUP and self._is_first(play)
        unbegun = None if play.phase is Phase.SETUP else self._unbegun(play)
        if unbegun is not None:
            return unbegun
        opened = self._interpreter.session(
            script=self._scenario["script"], source=self._version["files"][self._scenario["script"]],
            objects=self._version["objects"], seed=self._past.run["seed"],
        )  # fmt: skip
        async with opened as session:
            finding, end = await self._play(session, play)
            if first_setup:
                await self._note_setup(session, play, finding, end)
        return finding

    async def _play(self, session: Session, play: Play) -> tuple[Finding, PhaseEnd | None]:
        """Play one phase; how it ended, when it came to its end."""
        walk = Walk(play)
        broken = await self._prepare(session, play)
        if broken is not None:
            return walk.end(ended_now(broken, play.phase)), broken
        if walk.over is not None:
            return walk.over, None
        try:
            return await self._walk(session, walk, play)
        except _TimeStands:
            return walk.unknown("it waits for the time to pass, more often than it asked for the time then"), None

    async def _prepare(self, session: Session, play: Play) -> PhaseEnd | None:
        """Bring the session where the phase begins."""
        if play.phase is not Phase.SETUP and self._base is not None:
            try:
                await session.load_state(self._base)
                return None
            except SnapshotUnreadable as error:
                return PhaseEnd(EndKind.SYSTEM, code="SESSION_UNREADABLE", message=str(error))
        failed = await session.load_source()
        return None if failed is None else _end_of(failed)

    async def _walk(self, session: Session, walk: Walk, play: Play) -> tuple[Finding, PhaseEnd | None]:
        def clock(line: int | None) -> datetime:
            at = walk.time()
            if at is None:
                raise _TimeStands
            return at

        instruction_s = float(self._version["timeouts"]["instruction_s"])
        turn: Turn = await session.call(*phase_call(play.phase), self._argument(play))
        while True:
            session.printed()
            turn, call = await next_call(session, turn, clock, instruction_s, play.phase.value)
            if not isinstance(turn, Stopped):
                return self._over(walk, play, _end_of(turn))
            if not isinstance(call, NotedCall):
                end = called_end(call, turn.line) if call is not None else None
                assert end is not None, f"nobody answers {call}"
                return self._over(walk, play, end)
            following = walk.meet(Asked(call.name, call.args, call.commit, turn.line, turn.caller))
            if isinstance(following, Finding):
                return following, None
            if isinstance(following, Resume):
                turn = await session.resume(following.value)
            else:
                turn = await session.throw(following.exception)

    def _over(self, walk: Walk, play: Play, end: PhaseEnd) -> tuple[Finding, PhaseEnd]:
        return walk.end(ended_now(end, play.phase)), end

    async def _note_setup(self, session: Session, play: Play, finding: Finding, end: PhaseEnd | None) -> None:
        """What setup means for the rest."""
        if end is not None and end.kind is EndKind.RETURNED:
            self._base = await session.dump_state()
        elif end is not None:
            self._failed = finding.verdict is not Verdict.SAME
        elif finding.verdict is not Verdict.SAME:
            self._no_base = "setup does something else than it did, so nobody knows what this would begin from"

    def _unbegun(self, play: Play) -> Finding | None:
        """What is said about a phase that is not played."""
        if self._no_base:
            return Finding(Verdict.UNKNOWN, note=self._no_base)
        if play.phase is Phase.TEARDOWN:
            return None
        if self._failed:
            return Finding(Verdict.UNKNOWN, note="setup fails, so it would not begin")
        if play.phase is not Phase.TASK:
            return None
        value = self._past.inputs.get(str(play.task))
        if value is None:
            return Finding(Verdict.UNKNOWN, note="the task's input is gone")
        misfit = self._check.misfit(value)
        now = Ended("not_begun", "INPUT", misfit) if misfit is not None else None
        now = now or elsewhere(self._scenario["name"], self._version["scenarios"], value)
        if now is None:
            return None
        then = play.asked[0] if play.asked else play.ended
        return Finding(Verdict.ENDS_OTHERWISE, 0, play.seq, then, now)

    def _is_first(self, play: Play) -> bool:
        """Whether it is the setup whose state tasks begin from; later ones are made for another robot."""
        return play is next(one for one in self._past.plays if one.phase is Phase.SETUP)

    def _argument(self, play: Play) -> dict[str, Any]:
        if play.phase is Phase.TASK:
            return dict(self._past.inputs[str(play.task)])
        return dict(self._past.run.get("group") or {})


def _end_of(turn: Returned | Failed) -> PhaseEnd:
    """The end that a turn is."""
    if isinstance(turn, Returned):
        return PhaseEnd(EndKind.RETURNED, output=turn.value)
    return PhaseEnd(EndKind.SYSTEM, code=turn.code, message=turn.message, line=turn.line, traceback=turn.traceback)
