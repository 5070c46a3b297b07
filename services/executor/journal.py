"""Writes a run's journal, and keeps what belongs into the next entry: the reply that came, log lines, clock answers.

Called by: runner.py, phase.py, performing.py. Survives a crash: the entries. What was only noted is lost with the
process; that is right, since the instruction it belongs to is asked for again. Change also: core/journal.py, replay.py.
Its size does not grow with the run: entries are read into `standing` and forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.executor.core.ending import TaskOutcome
from services.executor.core.journal import Kind, Phase, Standing
from services.executor.core.reply import Answer, answer_document
from services.executor.evidence import EvidenceStore
from services.executor.interpreter import FORMAT
from services.executor.store import ExecutorStore
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger

LOG_LINES_MAX = 200
ANSWERS_MAX = 1000

log = get_logger("regente.script")


class Journal:
    """The entries of one run, and the notes for the next one."""

    def __init__(
        self,
        store: ExecutorStore,
        evidence: EvidenceStore,
        run: dict[str, Any],
        version: Mapping[str, Any],
        standing: Standing,
        *,
        executor: str,
    ) -> None:
        self.run = run
        self.objects: Mapping[str, Mapping[str, Any]] = version["objects"]
        self.standing = standing
        self.phase: Phase | None = None
        self.task: str | None = None
        self.attempt: int | None = None
        self._store = store
        self._evidence = evidence
        self._executor = executor
        named = [one for one in version["scenarios"] if one["name"] == run.get("scenario")]
        self._script = (named or version["scenarios"])[0]["script"]
        self._reply: dict[str, Any] | None = None
        self._logs: list[dict[str, Any]] = []
        self._answers: list[datetime] = []
        self._calls = 0
        self._since_s = monotonic_s()

    async def touch(self) -> None:
        """Show on the run that it goes on although nothing is written: a script sleeps."""
        await self._store.touch(self.run)

    # entries

    async def begin(self, phase: Phase, task: str | None = None, attempt: int | None = None) -> None:
        """A phase begins."""
        self.enter(phase, task, attempt, elapsed_s=0.0)
        await self._add(Kind.PHASE, {})

    def enter(self, phase: Phase, task: str | None, attempt: int | None, *, elapsed_s: float) -> None:
        """Go on in a phase that has begun; `elapsed_s` of its time are gone."""
        self.phase, self.task, self.attempt = phase, task, attempt
        self._since_s = monotonic_s() - elapsed_s

    async def add_instruction(self, instruction: Mapping[str, Any], dump: bytes) -> dict[str, Any]:
        """Store what the robot is to be asked, with the state that waits for the answer.

        Raises: StateTooLarge, Superseded.
        """
        sealed = self._store.seal(self.run["_id"], self.seq + 1, dump)
        return await self._add(
            Kind.INSTRUCTION, {"instruction": {**instruction, "script": self._script}}, snapshot=sealed
        )

    async def add_outcome(
        self, outcome: TaskOutcome, session: bytes | None = None, *, robot_lost: bool = False
    ) -> dict[str, Any]:
        """A phase ended; `session` is the state as setup left it.

        Raises: StateTooLarge, Superseded.
        """
        sealed = self._store.seal(self.run["_id"], self.seq + 1, session) if session is not None else None
        fields = {"outcome": outcome.as_document(), "robot_lost": robot_lost}
        entry = await self._add(Kind.OUTCOME, fields, session=sealed)
        self.phase = self.task = self.attempt = None
        return entry

    async def add_takeover(self, before: str | None) -> None:
        """This executor goes on where another one stood."""
        await self._add(Kind.TAKEOVER, {"from": before})

    async def add_abort(self, stop: Mapping[str, Any]) -> None:
        """The run is stopped early."""
        await self._add(Kind.ABORT, {"abort": {"kind": stop["kind"], "reason": stop["reason"], "by": stop.get("by")}})

    async def add_end(self, end: Mapping[str, Any]) -> None:
        """Nothing follows."""
        await self._add(Kind.END, {"end": dict(end)})

    # notes for the next entry

    async def note_reply(self, answer: Answer) -> None:
        """Store a reply's evidence now, and keep the reply for the next entry."""
        evidence = await self._evidence.keep(answer.proofs, link=self._link(answer)) if answer.proofs else []
        self._reply = answer_document(answer, evidence)

    def _link(self, answer: Answer) -> dict[str, Any]:
        return {
            "account": self.run["account"], "workflow": self.run["workflow"], "task": self.task,
            "run": self.run["_id"], "seq": answer.seq, "worker": answer.worker or self.run["worker"],
        }  # fmt: skip

    def note_log(self, level: str, message: str, fields: Mapping[str, Any], line: int | None) -> None:
        """A line that the script logs."""
        if len(self._logs) < LOG_LINES_MAX:
            self._logs.append({"level": level, "message": message, "fields": dict(fields), "line": line})
        elif len(self._logs) == LOG_LINES_MAX:
            text = f"more than {LOG_LINES_MAX} lines between two instructions; the rest is dropped"
            self._logs.append({"level": "warning", "message": text, "fields": {}, "line": line})

    def note_printed(self, lines: Sequence[str]) -> None:
        """What the script prints is logged."""
        for text in lines:
            self.note_log("info", text[:2000], {"printed": True}, None)

    def note_answer(self, at: datetime) -> None:
        """The time that the script was told; a replay tells it the same."""
        if len(self._answers) < ANSWERS_MAX:
            self._answers.append(at)

    def note_calls(self, calls: int) -> None:
        """So many more host calls; they are counted in the run, over all its executors."""
        self._calls += calls

    # what is asked of it

    @property
    def calls(self) -> int:
        """Host calls of the run so far."""
        return self.standing.calls + self._calls

    @property
    def elapsed_s(self) -> float:
        """Time spent on the phase in hand, on whichever executors."""
        return monotonic_s() - self._since_s

    @property
    def noted_reply(self) -> dict[str, Any] | None:
        """The reply that travels with the next entry."""
        return self._reply

    @property
    def seq(self) -> int:
        """The last seq used."""
        return self.standing.seq

    def recent(self) -> list[dict[str, Any]]:
        """The last instructions and what became of them, oldest first, for a failure's report."""
        return self.standing.recent_with(self._reply)

    async def _add(self, kind: Kind, fields: Mapping[str, Any], **dumps: bytes | None) -> dict[str, Any]:
        """Insert the next entry with the notes so far.

        Raises: Superseded when another executor's entry stands there.
        """
        entry: dict[str, Any] = {
            "run": self.run["_id"], "seq": self.seq + 1, "kind": kind,
            "token": self.run["token"], "epoch": self.run["epoch"], "worker": self.run["worker"],
            "at": now(), "executor": self._executor, "phase": self.phase, "task": self.task, "attempt": self.attempt,
            "elapsed_s": round(self.elapsed_s, 3), "reply": self._reply, "logs": self._logs, "answers": self._answers,
            "calls": self.calls, "format": FORMAT, **fields,
        }  # fmt: skip
        await self._store.add_step({**entry, **{name: data for name, data in dumps.items() if data is not None}})
        self._reply, logs, self._logs, self._answers = None, self._logs, [], []
        self._calls = 0
        self.standing.add(entry)
        self._log_out(logs)
        return entry

    def _log_out(self, lines: Sequence[Mapping[str, Any]]) -> None:
        bound = {
            "account": self.run["account"],
            "run": self.run["_id"],
            "task": self.task,
            "worker": self.run["worker"],
        }
        for line in lines:
            fields = {f"script_{key}": value for key, value in line["fields"].items()}
            getattr(log, line["level"])(line["message"], **bound, seq=self.seq, line=line["line"], **fields)
