"""A run's script in the interpreter: each phase in a session of its own, from its beginning or from where it stopped.

Called by: runner.py. Survives a crash: snapshots and the session as setup left it, sealed in the journal. A snapshot
that can't be read is rebuilt by playing the phase again. Change also: replay.py, phase.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.executor.core.ending import EndKind, PhaseEnd
from services.executor.core.journal import InHand, Phase
from services.executor.interpreter import FORMAT, Failed, Interpreter, Session, SnapshotUnreadable
from services.executor.journal import Journal
from services.executor.phase import PhaseRunner
from services.executor.replay import ReplayDiverged, replay
from services.executor.store import ExecutorStore
from shared.obs.logs import get_logger

log = get_logger("executor.script")


class Scripts:
    """The script of one run."""

    def __init__(
        self, interpreter: Interpreter, store: ExecutorStore, journal: Journal, version: Mapping[str, Any]
    ) -> None:
        self._interpreter = interpreter
        self._store = store
        self._journal = journal
        self._version = version
        self._base: bytes | None = None
        run = journal.run
        named = [one for one in version["scenarios"] if one["name"] == run["scenario"]]
        self.scenario: Mapping[str, Any] = (named or version["scenarios"])[0]
        self._name = str(self.scenario["script"])
        self._log = log.bind(run=run["_id"], worker=run["worker"], account=run["account"])

    @property
    def base(self) -> bytes | None:
        """The session as setup left it, for the outcome's entry; none before setup has returned in this process."""
        return self._base

    async def run(
        self, phases: PhaseRunner, phase: Phase, argument: dict[str, Any], *, task: str | None = None,
        attempt: int | None = None, hand: InHand | None = None,
    ) -> PhaseEnd:  # fmt: skip
        """Run a phase to its end: from the instruction that `hand` waits for, or from its beginning.

        Raises: Park when the run is to be put away meanwhile; Superseded.
        """
        opened = self._interpreter.session(
            script=self._name, source=self._version["files"][self._name], objects=self._version["objects"],
            seed=self._journal.run["seed"],
        )  # fmt: skip
        async with opened as session:
            if hand is None:
                await self._journal.begin(phase, task, attempt)
            else:
                self._journal.enter(phase, task, attempt, elapsed_s=hand.elapsed_s)
            waiting = hand.waiting if hand is not None else None
            if waiting is None:
                result = await self._begin(phases, session, phase, argument)
            else:
                result = await self._go_on(phases, session, phase, argument, dict(waiting))
            again = self._journal.standing.aside is not None
            if phase is Phase.SETUP and result.kind is EndKind.RETURNED and not again:
                self._base = await session.dump_state()
        return result

    async def _begin(self, phases: PhaseRunner, session: Session, phase: Phase, argument: dict[str, Any]) -> PhaseEnd:
        broken = await self._prepare(session, phase)
        if broken is not None:
            return broken
        return await phases.drive(session, await session.call(*phase_call(phase), argument))

    async def _go_on(
        self, phases: PhaseRunner, session: Session, phase: Phase, argument: dict[str, Any], entry: dict[str, Any]
    ) -> PhaseEnd:
        """Back to the stop at the instruction that waits; by its snapshot, or by playing the phase again."""
        seq, run = int(entry["seq"]), self._journal.run["_id"]
        try:
            dump = await self._store.dump(run, seq, "snapshot")
            if dump is None or entry.get("format") != FORMAT:
                raise SnapshotUnreadable("missing, not authentic, or of another interpreter")
            await session.load_stop(dump)
        except SnapshotUnreadable as error:
            self._log.warning("snapshot unreadable, replaying the phase", seq=seq, reason=str(error))
            broken = await self._replay(session, phase, argument, seq)
            if broken is not None:
                return broken
        return await phases.go_on(session, entry)

    async def _replay(self, session: Session, phase: Phase, argument: dict[str, Any], seq: int) -> PhaseEnd | None:
        broken = await self._prepare(session, phase)
        if broken is not None:
            return broken
        entries = await self._store.steps_of_phase(self._journal.run["_id"], self._begun(phase), seq, str(phase))
        instruction_s = float(self._version["timeouts"]["instruction_s"])
        try:
            await replay(session, await session.call(*phase_call(phase), argument), entries, instruction_s)
        except ReplayDiverged as error:
            return PhaseEnd(EndKind.SYSTEM, code="REPLAY_DIVERGED", message=str(error))
        return None

    def _begun(self, phase: Phase) -> int:
        """Seq at which the phase in hand began; a task may have been put aside for another setup since."""
        standing = self._journal.standing
        if phase is Phase.TASK and self._journal.task is not None:
            return standing.begun[self._journal.task, self._journal.attempt or 0]
        return standing.phase_seq

    async def _prepare(self, session: Session, phase: Phase) -> PhaseEnd | None:
        """Load the script for setup, or the state that setup left for everything after it."""
        if phase is not Phase.SETUP and self._base is None:
            self._base = await self._stored_base()
        if phase is not Phase.SETUP and self._base is not None:
            try:
                await session.load_state(self._base)
                return None
            except SnapshotUnreadable as error:
                return PhaseEnd(EndKind.SYSTEM, code="SESSION_UNREADABLE", message=str(error))
        failed: Failed | None = await session.load_source()
        if failed is None:
            return None
        return PhaseEnd(
            EndKind.SYSTEM, code=failed.code, message=failed.message, line=failed.line, traceback=failed.traceback
        )

    async def _stored_base(self) -> bytes | None:
        seq = self._journal.standing.setup_seq
        return None if seq is None else await self._store.dump(self._journal.run["_id"], seq, "session")


def phase_call(phase: Phase) -> tuple[str, str]:
    """Function of a phase and the name of its argument."""
    return ("execute", "task") if phase is Phase.TASK else (phase.value, "group")
