"""All of the executor's queries: runs, steps, tasks, versions, documents, late replies.

Called by: runner.py, recovery.py, handlers.py. Survives a crash: each method is one write that names what it expects,
so it can be repeated after a crash between any two of them. Sealing of snapshots happens here: the steps hold no
readable state."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.executor.core.ending import TaskOutcome
from services.executor.core.journal import Standing
from shared.domain.run_state import LIVE, RUN, RunState
from shared.domain.task_state import TASK, ReturnReason, TaskState
from shared.mongo import Mongo
from shared.mongo.guarded import Guarded, guarded_update, insert_once
from shared.obs.clock import now
from shared.obs.flow import began, came_out
from shared.obs.ids import new_id
from shared.seal import SealBroken, Sealer

OWNER = "executor"
SNAPSHOT_SIZE_BYTES_MAX = 1024 * 1024
HISTORY_MAX = 50
WITHOUT_DUMPS = {"snapshot": 0, "session": 0}


class StateTooLarge(Exception):
    """The script's state does not fit into the journal."""


class Superseded(Exception):
    """Another executor goes on with this run; drop it without a further write."""


class ExecutorStore:
    """The executor's view of the database."""

    def __init__(self, mongo: Mongo, sealer: Sealer) -> None:
        self.mongo = mongo
        self._sealer = sealer

    # runs

    async def run(self, run: str) -> dict[str, Any] | None:
        """A run by its id."""
        return await self.mongo["runs"].find_one({"_id": run})

    async def version(self, version: str) -> dict[str, Any] | None:
        """The version a run executes."""
        return await self.mongo["versions"].find_one({"_id": version})

    async def robot(self, worker: str) -> dict[str, Any] | None:
        """A robot's grant, and whether its agent opens sealed arguments (opens_sealed)."""
        return await self.mongo["workers"].find_one({"_id": worker}, {"grant": 1, "opens_sealed": 1})

    async def workflow(self, account: str, name: str) -> dict[str, Any] | None:
        """A workflow, for its settings."""
        return await self.mongo["workflows"].find_one({"_id": f"{account}/{name}"})

    async def claim(self, run: Mapping[str, Any], executor: str) -> dict[str, Any] | None:
        """Take a live run as it was read: token + 1, mine. None when somebody else changed it first."""
        token = run["token"] + 1
        done = await guarded_update(
            self.mongo["runs"],
            run["_id"],
            {"state": {"$in": sorted(LIVE)}, "executor": run.get("executor"), "token": run["token"]},
            {"$set": {"executor": executor, "token": token, "pending": None, "progressed_at": now()}},
            op=new_id(f"claim/{executor}/{token}/"),  # two calls for one run must not both believe that they did it
        )
        return done.document if done.applied else None

    async def park(self, run: str, executor: str, token: int, trouble: Mapping[str, Any] | None = None) -> bool:
        """Give a run back to whoever comes next (this process is leaving, or failed). trouble: kept on the run."""
        pending = {"to": OWNER, "what": "opened", "since": now(), "due_at": now(), "claims": 0}
        fields = {"executor": None, "pending": pending}
        update = {"$set": fields if trouble is None else {**fields, "trouble": dict(trouble)}}
        expect = {"executor": executor, "token": token}
        return (await guarded_update(self.mongo["runs"], run, expect, update, op=f"park/{executor}/{token}")).applied

    async def move_run(self, run: Mapping[str, Any], token: int, to: RunState, fields: Mapping[str, Any]) -> None:
        """Change a run's state, as its holder.

        Raises: Superseded when the token isn't the run's any more.
        """
        sources = [*RUN.sources(to, owner=OWNER), to]
        done = await guarded_update(
            self.mongo["runs"],
            run["_id"],
            {"token": token, "state": {"$in": sources}},
            {"$set": {"state": to, "progressed_at": now(), **fields}},
            op=f"{to}/{token}",
        )
        if not done.applied:
            raise Superseded(f"run {run['_id']}: token {token} no longer holds it")

    async def note_task(
        self, run: Mapping[str, Any], task: str, state: str, outcome: str | None,
        *, failure: Mapping[str, Any] | None = None, attempt: int | None = None,
    ) -> None:  # fmt: skip
        """Show on the run how one of its tasks stands (the truth about a task is its own document).

        failure: {kind, code} of an attempt that failed; the scheduler judges robot and workflow by it. attempt: which
        one, where a run may have the same task twice. Raises: Superseded when the token isn't the run's any more.
        """
        fields: dict[str, Any] = {"tasks.$.state": state, "tasks.$.outcome": outcome, "progressed_at": now()}
        if failure is not None:
            kept = {key: failure.get(key) for key in ("kind", "code")}
            fields["tasks.$.failure"] = {**kept, "message": str(failure.get("message") or "")[:300]}
        item: dict[str, Any] = {"task": task} if attempt is None else {"task": task, "attempt": attempt}
        done = await guarded_update(
            self.mongo["runs"],
            run["_id"],
            {"token": run["token"], "tasks": {"$elemMatch": item}},
            {"$set": fields},
            op=f"task/{state}/{task}/{attempt}/{run['token']}",
        )
        if not done.applied:
            raise Superseded(f"run {run['_id']}: token {run['token']} no longer holds it")

    async def touch(self, run: Mapping[str, Any]) -> None:
        """Note that a run goes on; whoever watches its progress reads it."""
        mine = {"_id": run["_id"], "token": run["token"]}
        await self.mongo["runs"].update_one(mine, {"$set": {"progressed_at": now()}})

    async def runs_of(self, executor: str) -> list[dict[str, Any]]:
        """Live runs that an executor holds."""
        cursor = self.mongo["runs"].find({"executor": executor, "state": {"$in": sorted(LIVE)}})
        return await cursor.limit(1000).to_list(None)

    async def holders(self) -> set[str]:
        """Executors that hold live runs."""
        found = await self.mongo["runs"].distinct(
            "executor", {"state": {"$in": sorted(LIVE)}, "executor": {"$type": "string"}}
        )
        return set(found)

    async def runs_waiting(self, limit: int) -> list[dict[str, Any]]:
        """Runs handed over to executors and not claimed, oldest first."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now()}}
        return await self.mongo["runs"].find(query).sort("pending.due_at", 1).limit(limit).to_list(None)

    async def stops_asked(self, executor: str) -> list[dict[str, Any]]:
        """My runs that somebody wants stopped."""
        query = {"executor": executor, "state": {"$in": sorted(LIVE)}, "abort": {"$ne": None}}
        return await self.mongo["runs"].find(query, {"abort": 1}).limit(1000).to_list(None)

    async def ask_stop(self, run: str, stop: Mapping[str, Any], robot: Mapping[str, Any] | None = None) -> Guarded:
        """Note on a live run that it is to stop. The first wish counts; an abort overrides a stop after the task.

        robot: worker and epoch that the run must still have.
        """
        expect: dict[str, Any] = {"state": {"$in": sorted(LIVE)}, "abort": None}
        if stop["kind"] != "after_task":
            expect = {"state": expect["state"], "$or": [{"abort": None}, {"abort.kind": "after_task"}]}
        return await guarded_update(
            self.mongo["runs"], run, {**expect, **(robot or {})}, {"$set": {"abort": dict(stop)}},
            op=f"stop/{stop['command']}",
        )  # fmt: skip

    async def untrimmed(self, limit: int) -> list[str]:
        """Ended runs whose snapshots have not been removed yet."""
        cursor = self.mongo["runs"].find({"trim": True}, {"_id": 1}).limit(limit)
        return [document["_id"] async for document in cursor]

    async def trim(self, run: str) -> None:
        """Remove an ended run's snapshots: its journal needs them no more."""
        span = {"$gte": f"{run}/", "$lt": f"{run}0"}
        await self.mongo["steps"].update_many({"_id": span}, {"$unset": {"snapshot": "", "session": ""}})
        await self.mongo["runs"].update_one({"_id": run}, {"$unset": {"trim": ""}})

    # steps

    async def standing(self, run: str) -> Standing:
        """Where a run stands by its journal, read entry by entry: however long it is, it is never held as a whole."""
        standing = Standing()
        span = {"$gte": f"{run}/", "$lt": f"{run}0"}
        async for entry in self.mongo["steps"].find({"_id": span}, WITHOUT_DUMPS).sort("_id", 1):
            standing.add(entry)
        return standing

    async def steps_of_phase(self, run: str, first: int, last: int, phase: str) -> list[dict[str, Any]]:
        """The entries of one phase, from seq `first` to `last`, in order, without snapshots."""
        span = {"$gte": step_id(run, first), "$lte": step_id(run, last)}
        query = {"_id": span, "phase": phase}
        return await self.mongo["steps"].find(query, WITHOUT_DUMPS).sort("_id", 1).to_list(None)

    async def step_at(self, run: str, seq: int) -> datetime | None:
        """When an entry was made; none: there is none."""
        found = await self.mongo["steps"].find_one({"_id": step_id(run, seq)}, {"at": 1})
        return found["at"] if found else None

    async def steps_since(self, run: str, first: int) -> list[dict[str, Any]]:
        """The entries from seq `first` on, in order, without snapshots."""
        span = {"$gte": step_id(run, first), "$lt": f"{run}0"}
        return await self.mongo["steps"].find({"_id": span}, WITHOUT_DUMPS).sort("_id", 1).to_list(None)

    async def add_step(self, entry: Mapping[str, Any]) -> None:
        """Insert the next entry; repeating the same one is fine.

        Raises: Superseded when another entry stands there already.
        """
        document = {"_id": step_id(entry["run"], entry["seq"]), "schema_version": 1, **entry}
        if await insert_once(self.mongo["steps"], document):
            return
        found = await self.mongo["steps"].find_one({"_id": document["_id"]}, {"token": 1, "executor": 1, "kind": 1})
        if found is None or any(found[key] != entry[key] for key in ("token", "executor", "kind")):
            raise Superseded(f"run {entry['run']}: entry {entry['seq']} is another executor's")

    def seal(self, run: str, seq: int, dump: bytes) -> bytes:
        """A dump as it is stored: compressed, encrypted, bound to its place.

        Raises: StateTooLarge.
        """
        packed = zlib.compress(dump, 1)
        if len(packed) > SNAPSHOT_SIZE_BYTES_MAX:
            raise StateTooLarge(
                f"the script's state has {len(packed)} bytes compressed; at most {SNAPSHOT_SIZE_BYTES_MAX} are kept"
            )
        return self._sealer.seal("snapshot", packed, _aad(run, seq))

    async def dump(self, run: str, seq: int, field: str) -> bytes | None:
        """A stored dump (`snapshot` or `session`), or none when it is missing or not authentic."""
        found = await self.mongo["steps"].find_one({"_id": step_id(run, seq)}, {field: 1})
        if found is None or found.get(field) is None:
            return None
        try:
            return zlib.decompress(self._sealer.open("snapshot", bytes(found[field]), _aad(run, seq)))
        except (SealBroken, zlib.error):
            return None

    async def late_reply(self, run: str, seq: int, message: str, reply: Mapping[str, Any]) -> None:
        """Attach a reply that came too late to its step, for people."""
        await insert_once(
            self.mongo["late_replies"],
            {
                "_id": f"{step_id(run, seq)}/{message}",
                "schema_version": 1,
                "run": run,
                "seq": seq,
                "at": now(),
                **reply,
            },
        )

    # tasks

    async def tasks(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Tasks by id."""
        return {task["_id"]: task async for task in self.mongo["tasks"].find({"_id": {"$in": ids}})}

    async def start_task(self, task: str, held_by: Mapping[str, Any], seq: int) -> dict[str, Any] | None:
        """Mark a task as begun, if this run still holds it; its document, or none."""
        done = await guarded_update(
            self.mongo["tasks"],
            task,
            {"state": TaskState.RUNNING, **_held(held_by), "pending": None},
            {"$set": {"started_at": now(), "updated_at": now()}},
            op=f"start/{held_by['run']}/{seq}",
        )
        if done.applied and done.document is not None:
            began(done.document)
        return done.document if done.applied else None

    async def end_task(
        self, task: str, held_by: Mapping[str, Any], seq: int, outcome: TaskOutcome, evidence: list[dict[str, Any]]
    ) -> bool:
        """Apply an outcome to a task, once; false when the run holds it no more (it was applied, or taken away)."""
        update = _end_update(outcome, held_by["run"], evidence)
        expect = {"state": TaskState.RUNNING, **_held(held_by), "pending": None}
        op = f"end/{held_by['run']}/{seq}"
        done = await guarded_update(self.mongo["tasks"], task, expect, update, op=op)
        if done.applied and done.document is not None and outcome.state not in tuple(ReturnReason):
            came_out(done.document, str(outcome.state), now())
        return done.applied

    async def settle_task(self, task: str, outcome: TaskOutcome, by: str, command: str) -> Guarded:
        """A person says what became of a held task."""
        to = TaskState(outcome.state)
        TASK.check(TaskState.HELD, to, owner=OWNER)
        update = _end_update(outcome, None, None, by=by)
        done = await guarded_update(
            self.mongo["tasks"], task, {"state": TaskState.HELD, "pending": None}, update, op=f"settle/{command}"
        )
        if done.applied and done.document is not None:
            came_out(done.document, str(outcome.state))
        return done

    async def ask_cancel(self, task: str, by: str, command: str) -> Guarded:
        """Note on a running task that it is to be cancelled."""
        cancel = {"by": by, "at": now(), "command": command}
        return await guarded_update(
            self.mongo["tasks"],
            task,
            {"state": TaskState.RUNNING},
            {"$set": {"cancel": cancel}},
            op=f"cancel/{command}",
        )

    async def cancels_asked(self, runs: list[str]) -> list[dict[str, Any]]:
        """Tasks of these runs that are to be cancelled."""
        query = {"held_by.run": {"$in": runs}, "state": TaskState.RUNNING, "cancel": {"$ne": None}}
        return await self.mongo["tasks"].find(query, {"held_by": 1, "cancel": 1}).limit(1000).to_list(None)

    async def readdress(self, command: str, to: str) -> None:
        """A request is another service's: hand it on."""
        expect = {"state": "pending", "to": OWNER}
        update = {"$set": {"to": to, "due_at": now(), "claims": 0}}
        await guarded_update(self.mongo["commands"], command, expect, update, op=f"readdress/{to}/{command}")

    # documents

    async def secret(self, account: str, name: str) -> dict[str, Any] | None:
        """What a document holds, in clear; none when there is no such document."""
        key = f"{account}/{name}"
        found = await self.mongo["documents"].find_one({"_id": key})
        if found is None:
            return None
        content: dict[str, Any] = json.loads(self._sealer.open("document", bytes(found["sealed"]), key.encode()))
        return content


def step_id(run: str, seq: int) -> str:
    """Identity of an entry; ids of one run sort by seq."""
    return f"{run}/{seq:08d}"


def _aad(run: str, seq: int) -> bytes:
    return step_id(run, seq).encode()


def _held(held_by: Mapping[str, Any]) -> dict[str, Any]:
    return {"held_by.run": held_by["run"], "held_by.attempt": held_by["attempt"]}


def _end_update(
    outcome: TaskOutcome, run: str | None, evidence: list[dict[str, Any]] | None, *, by: str | None = None
) -> dict[str, Any]:
    """The update that an outcome is: state, result, and the hand-over to whoever goes on."""
    at = now()
    reason = outcome.error["message"] if outcome.error else ""
    history = {"at": at, "state": outcome.state, "reason": reason[:500], "by": by or OWNER, "run": run}
    push = {"history": {"$each": [history], "$slice": -HISTORY_MAX}}
    fields: dict[str, Any] = {"updated_at": at}
    if evidence is not None:
        fields["evidence"] = evidence
    if outcome.state in tuple(ReturnReason):
        pending = {
            "to": "scheduler", "what": outcome.state, "since": at, "due_at": at, "claims": 0, "delay_s": outcome.delay_s
        }  # fmt: skip
        fields.update(pending=pending, last_error=outcome.error)
        return {"$set": fields, "$push": push, "$inc": {"setup_failures": 1 if outcome.delay_s else 0}}
    state = TaskState(outcome.state)
    pending = {"to": "delivery", "what": state, "since": at, "due_at": at, "claims": 0}
    fields.update(state=state, held_by=None, pending=pending, error=outcome.error, cancel=None)
    fields["result"] = {"output": outcome.output} if state is TaskState.SUCCEEDED else None
    fields["hold"] = {**outcome.hold, "at": at, "run": run} if outcome.hold else None
    if state is not TaskState.HELD:
        fields["finished_at"] = at
    return {"$set": fields, "$push": push, "$inc": {f"events.{state}": 1}}
