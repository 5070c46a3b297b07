"""The journal of one run in the hands of its executor: the next entry, and what goes into it.

Called by: runner.py and phase.py. Survives a crash: every entry that was added; what is only noted (a reply, log
lines, clock answers) travels with the next entry, so after a crash it is asked for again. Log lines go out after
their entry is stored, so a line seen twice means a crash between the two, and none is seen for what never happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.executor.core.args import secret_value
from services.executor.core.ending import TaskOutcome
from services.executor.core.journal import Kind, Phase
from services.executor.evidence import EvidenceStore
from services.executor.interpreter import FORMAT
from services.executor.store import ExecutorStore
from shared.contracts.catalogue import BadCall
from shared.contracts.messages import ReplyError, ReplyOutcome, WorkerReply
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger

LOG_LINES_MAX = 200
ANSWERS_MAX = 1000
RECENT_MAX = 20

log = get_logger("regente.script")


class Journal:
    """The entries of one run, and the notes for the next one."""

    def __init__(
        self,
        store: ExecutorStore,
        evidence: EvidenceStore,
        run: dict[str, Any],
        version: Mapping[str, Any],
        entries: Sequence[dict[str, Any]],
        *,
        executor: str,
    ) -> None:
        self.run = run
        self.objects: Mapping[str, Mapping[str, Any]] = version["objects"]
        self.entries: list[dict[str, Any]] = list(entries)
        self.seq: int = entries[-1]["seq"] if entries else 0
        self.instructions = sum(entry["kind"] == Kind.INSTRUCTION for entry in entries)
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
        self.instructions += 1
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

    async def note_reply(self, reply: WorkerReply) -> None:
        """Store a reply's evidence now, and keep the reply for the next entry."""
        self._reply = reply_document(reply, await self.keep_evidence(reply, self.task))

    async def keep_evidence(self, reply: WorkerReply, task: str | None) -> list[dict[str, Any]]:
        """Store the proofs that came with a reply, linked to its instruction."""
        link = {
            "account": self.run["account"], "workflow": self.run["workflow"], "task": task, "run": reply.run,
            "seq": reply.seq, "worker": reply.worker,
        }  # fmt: skip
        return await self._evidence.keep(reply.evidence, link=link)

    def note_local_error(self, entry: Mapping[str, Any], code: str, message: str) -> None:
        """An instruction could not even be sent."""
        error = ReplyError(code=code, message=message[:4000]).model_dump()
        self._reply = {
            "seq": entry["seq"], "outcome": ReplyOutcome.ERROR, "value": None, "error": error,
            "evidence": [], "local": True,
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

    # what is asked of it

    @property
    def elapsed_s(self) -> float:
        """Time spent on the phase in hand, on whichever executors."""
        return monotonic_s() - self._since_s

    async def secret(self, name: str) -> Any:
        """A document's value for an instruction.

        Raises: BadCall when the account has no such document.
        """
        content = await self._store.secret(self.run["account"], name)
        if content is None:
            raise BadCall(f"the account has no document {name!r}; store it in the console")
        return secret_value(content)

    @property
    def noted_reply(self) -> dict[str, Any] | None:
        """The reply that travels with the next entry."""
        return self._reply

    def recent(self) -> list[dict[str, Any]]:
        """The last instructions and what became of them, oldest first, for a failure's report."""
        outcomes = {entry["reply"]["seq"]: entry["reply"] for entry in self.entries if entry.get("reply")}
        if self._reply is not None:
            outcomes[self._reply["seq"]] = self._reply
        asked = [entry for entry in self.entries if entry["kind"] == Kind.INSTRUCTION][-RECENT_MAX:]
        return [_recent(entry, outcomes.get(entry["seq"])) for entry in asked]

    async def _add(self, kind: Kind, fields: Mapping[str, Any], **dumps: bytes | None) -> dict[str, Any]:
        """Insert the next entry with the notes so far.

        Raises: Superseded when another executor's entry stands there.
        """
        entry: dict[str, Any] = {
            "run": self.run["_id"], "seq": self.seq + 1, "kind": kind,
            "token": self.run["token"], "epoch": self.run["epoch"],
            "at": now(), "executor": self._executor, "phase": self.phase, "task": self.task, "attempt": self.attempt,
            "elapsed_s": round(self.elapsed_s, 3), "reply": self._reply, "logs": self._logs, "answers": self._answers,
            "format": FORMAT, **fields,
        }  # fmt: skip
        await self._store.add_step({**entry, **{name: data for name, data in dumps.items() if data is not None}})
        self.seq += 1
        self._reply, logs, self._logs, self._answers = None, self._logs, [], []
        self.entries.append(entry)
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


def reply_document(reply: WorkerReply, evidence: list[dict[str, Any]]) -> dict[str, Any]:
    """A reply as the journal holds it: without the bytes of its evidence."""
    return {
        "seq": reply.seq,
        "outcome": reply.outcome,
        "value": reply.value,
        "value_too_large": reply.value_too_large,
        "error": reply.error.model_dump() if reply.error else None,
        "desktop": reply.desktop,
        "evidence": evidence,
        "recent": reply.recent,
        "duration_s": reply.duration_s,
        "repeated": reply.repeated,
    }


def _recent(entry: Mapping[str, Any], reply: Mapping[str, Any] | None) -> dict[str, Any]:
    instruction = entry["instruction"]
    return {
        "seq": entry["seq"],
        "name": instruction["name"],
        "line": instruction.get("line"),
        "outcome": reply["outcome"] if reply else None,
        "error": (reply.get("error") or {}).get("code") if reply else None,
        "duration_s": reply.get("duration_s") if reply else None,
    }
