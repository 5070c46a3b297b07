"""The spans of one run in hand: what is current while its script runs, and what is sent when a piece of it is over.

Called by: runner.py, outcomes.py, performing.py. Survives a crash: nothing of its own; ids and beginnings come from
documents (shared/obs/spans.py), so the executor that takes a run over ends the spans that this one began. Beginnings
are read from the journal only where the trace is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.executor.core.calls import Place, place_of
from services.executor.core.ending import RunClose
from services.executor.core.journal import Kind, Phase
from services.executor.core.reply import Answer
from services.executor.store import ExecutorStore
from shared.obs import spans
from shared.obs.clock import now
from shared.obs.trace import current, use
from shared.obs.tracing import is_on, records

RESENT_S = 5.0
RESENT_ENTRIES_MAX = 200


@dataclass
class Trip:
    """One instruction on its way to a robot and back, by this process's clock."""

    sent: datetime | None = None
    answered: datetime | None = None


class RunSpans:
    """The spans of one run."""

    def __init__(self, store: ExecutorStore, run: Mapping[str, Any]) -> None:
        self._store = store
        self._run = run
        self._tasks: dict[str, Mapping[str, Any]] = {}
        self._trips: dict[int, Trip] = {}

    @contextmanager
    def of_run(self) -> Iterator[None]:
        """Whatever is sent and logged inside belongs to the run."""
        with use(spans.run_context(self._run)):
            yield

    @contextmanager
    def of_phase(self, seq: int) -> Iterator[None]:
        """Whatever is sent and logged inside belongs to a phase. seq: of the entry with which it begins."""
        with use(spans.phase_context(self._run, seq)):
            yield

    @contextmanager
    def of_attempt(self, task: Mapping[str, Any], attempt: int) -> Iterator[None]:
        """Whatever is sent and logged inside belongs to an attempt at a task, in the task's own trace."""
        self._tasks[str(task["_id"])] = {"_id": task["_id"], "traceparent": task.get("traceparent")}
        with use(spans.attempt_context(self._run, task, attempt)):
            yield

    def to_robot(self, seq: int) -> Trip:
        """An instruction goes to a robot now."""
        trip = self._trips[seq] = Trip(now())
        return trip

    @contextmanager
    def of_instruction(self, seq: int) -> Iterator[None]:
        """The message of an instruction is sent inside."""
        phase = current()
        with use(spans.instruction_context(phase, self._run, seq) if phase else None):
            yield

    def instruction_ended(self, entry: Mapping[str, Any], answer: Answer | None, *, again: bool) -> None:
        """An instruction was answered, or (none) given up. again: an earlier try stored it."""
        phase, trip = current(), self._trips.pop(int(entry["seq"]), Trip())
        if phase is None or not records(phase):
            return
        how = spans.Performed(
            stored=entry["at"], answered=trip.answered or now(), sent=trip.sent,
            robot_s=answer.duration_s if answer is not None and trip.sent is not None else None,
            place=str(place_of(entry["instruction"]["name"])), again=again,
            outcome=str(answer.outcome) if answer is not None else "cut",
            code=answer.error.code if answer is not None and answer.error is not None else None,
        )  # fmt: skip
        spans.note_instruction(phase, self._run, entry, how)

    async def phase_ended(self, seq: int, phase: str, code: str) -> None:
        """Setup, a keep-alive or teardown ended. seq: of the entry with which it began; code: of its failure."""
        if records(spans.run_context(self._run)):
            at = now()
            spans.note_phase(self._run, seq, phase, await self._begun(seq, at), at, code)

    async def attempt_ended(self, entry: Mapping[str, Any], seq: int, code: str) -> None:
        """The outcome in an entry was brought to its task. seq: of the entry with which the attempt began."""
        task = await self._task(str(entry["task"])) if is_on() else None
        if task is None or not records(spans.attempt_context(self._run, task, int(entry["attempt"]))):
            return
        start = await self._begun(seq, entry["at"])
        spans.note_attempt(
            self._run, task, int(entry["attempt"]), start, (entry["at"], now()),
            state=str(entry["outcome"]["state"]), code=code,
        )  # fmt: skip

    async def taken_over(self, last: int) -> None:
        """This executor goes on with the run of another, which may have died before it sent what it had ended last: the
        spans of the journal's last seconds are sent again. last: seq of the journal's last entry."""
        if not records(spans.run_context(self._run)):
            return
        entries = await self._store.steps_since(str(self._run["_id"]), max(1, last - RESENT_ENTRIES_MAX))
        if not entries:
            return
        after = entries[-1]["at"] - timedelta(seconds=RESENT_S)
        begun: dict[Any, Mapping[str, Any]] = {}
        asked: Mapping[str, Any] | None = None
        for entry in entries:
            of = (entry.get("phase"), entry.get("task"), entry.get("attempt"))
            if entry["kind"] == Kind.PHASE:
                begun[of] = entry
            reply = entry.get("reply")
            if reply and asked is not None and reply["seq"] == asked["seq"] and entry["at"] >= after:
                await self._resend(asked, entry["at"], reply, begun)
            if entry["kind"] == Kind.INSTRUCTION:
                asked = entry
            ended = entry["kind"] == Kind.OUTCOME and entry["phase"] != Phase.TASK and of in begun
            if ended and entry["at"] >= after:
                code = (entry["outcome"].get("error") or {}).get("code") or ""
                start = begun[of]
                spans.note_phase(self._run, int(start["seq"]), str(entry["phase"]), start["at"], entry["at"], code)

    async def _resend(
        self, asked: Mapping[str, Any], at: datetime, reply: Mapping[str, Any], begun: Mapping[Any, Mapping[str, Any]]
    ) -> None:
        """The span of an instruction by its entry and the reply in the next one."""
        of = (asked.get("phase"), asked.get("task"), asked.get("attempt"))
        if asked["phase"] == Phase.TASK:
            task = await self._task(str(asked["task"]))
            phase = spans.attempt_context(self._run, task, int(asked["attempt"])) if task is not None else None
        else:
            phase = spans.phase_context(self._run, int(begun[of]["seq"])) if of in begun else None
        if phase is None:
            return
        place = place_of(asked["instruction"]["name"])
        on_robot = place is Place.ROBOT
        how = spans.Performed(
            stored=asked["at"], answered=at, sent=asked["at"] if on_robot else None, place=str(place),
            robot_s=float(reply.get("duration_s") or 0.0) if on_robot else None, outcome=str(reply["outcome"]),
            code=(reply.get("error") or {}).get("code"),
        )  # fmt: skip
        spans.note_instruction(phase, self._run, asked, how)

    def run_ended(self, end: RunClose) -> None:
        """The run came to its end."""
        spans.note_run(self._run, now(), state=str(end.state), reason=str(end.reason), code=end.code)

    async def _task(self, id: str) -> Mapping[str, Any] | None:
        """The task's trace: known, or read where this process did not begin the task."""
        if id not in self._tasks:
            found = (await self._store.tasks([id])).get(id)
            if found is None:
                return None
            self._tasks[id] = {"_id": id, "traceparent": found.get("traceparent")}
        return self._tasks[id]

    async def _begun(self, seq: int, otherwise: datetime) -> datetime:
        """When an entry was made."""
        return await self._store.step_at(str(self._run["_id"]), seq) or otherwise
