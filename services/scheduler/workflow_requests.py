"""Requests about a whole workflow: a person holds it, or releases what a person or a circuit breaker held.

Called by: requests.py (the routes). Owns: `circuits`, with settling.py. A held workflow keeps its tasks queued; runs at
work end after the task in hand (closing.py). Survives a crash: each request is one guarded write under its own id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.scheduler.core.judging import closed_circuit, held_by, released_by
from services.scheduler.requests import DONE, Outcome, Work, refused
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.gates import HoldMode
from shared.errors import ErrorCode
from shared.mongo import Mongo, Session
from shared.mongo.audit import audit
from shared.mongo.events import raise_event
from shared.mongo.guarded import guarded_update, in_transaction, insert_once
from shared.obs.clock import now

TEXT_MAX = 500


class WorkflowRequests:
    """What people ask for about a workflow."""

    def __init__(self, mongo: Mongo, *, kick: Callable[[], None], close: Callable[[], None]) -> None:
        """kick: has the dispatcher look again; close: has the runs that may not go on looked for."""
        self._mongo = mongo
        self._kick = kick
        self._close = close

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {"workflow.hold": self.hold, "workflow.release": self.release}

    async def hold(self, command: Mapping[str, Any]) -> Outcome:
        """Let a workflow take no more tasks; what becomes of its runs says the mode (closing.py sees to it)."""
        at, text = now(), str(command["args"].get("text") or "")[:TEXT_MAX]
        try:
            mode = HoldMode(command["args"].get("mode") or HoldMode.STOP)
        except ValueError:
            return refused(ErrorCode.INVALID_INPUT, f"a hold's mode is one of {', '.join(HoldMode)}")
        fields = held_by(str(command["by"]), text, at, mode)
        problem = await self._open(command, fields)
        if problem is not None and not await self._change_mode(command, mode):
            return problem
        await self._tell(
            command, EventKind.WORKFLOW_HELD, f"is held by {command['by']} ({mode}): {text or 'no reason was given'}"
        )
        self._close()
        return DONE

    async def _change_mode(self, command: Mapping[str, Any], mode: HoldMode) -> bool:
        """Want something else of the runs of a workflow that is held already; false when that is wanted already."""
        same = [mode.value, None] if mode is HoldMode.STOP else [mode.value]
        expect = {"state": "open", "mode": {"$nin": same}}
        id, op = str(command["target"]), str(command["_id"])
        update = {"$set": {"mode": mode.value}}
        return (await guarded_update(self._mongo["circuits"], id, expect, update, op=op)).applied

    async def release(self, command: Mapping[str, Any]) -> Outcome:
        """Let a held workflow and its held scenarios go on, all of them at once; failures are counted from zero."""
        id, op = str(command["target"]), str(command["_id"])
        workflow = await self._mongo["workflows"].find_one({"_id": id}, {"account": 1, "name": 1})
        if workflow is None:
            return refused(ErrorCode.NOT_FOUND, f"there is no workflow {id}")
        mine = {"account": workflow["account"], "workflow": workflow["name"]}

        async def body(session: Session) -> bool:
            held = {**mine, "$or": [{"state": "open"}, {"op": op}]}
            if await self._mongo["circuits"].find_one(held, {"_id": 1}, session=session) is None:
                return False
            fields = {**released_by(str(command["by"]), now()), "op": op}
            await self._mongo["circuits"].update_many({**mine, "op": {"$ne": op}}, {"$set": fields}, session=session)
            return True

        if not await in_transaction(self._mongo, body):
            return refused(ErrorCode.CONFLICT, "the workflow is not held")
        await self._tell(command, EventKind.WORKFLOW_RELEASED, f"was released by {command['by']}")
        self._kick()
        return DONE

    async def _open(self, command: Mapping[str, Any], fields: Mapping[str, Any]) -> Outcome | None:
        """Open the circuit breaker; an outcome when there was nothing to change."""
        id = str(command["target"])
        workflow = await self._mongo["workflows"].find_one({"_id": id}, {"account": 1, "name": 1})
        if workflow is None:
            return refused(ErrorCode.NOT_FOUND, f"there is no workflow {id}")
        await insert_once(self._mongo["circuits"], closed_circuit(workflow["account"], workflow["name"]))
        done = await guarded_update(
            self._mongo["circuits"], id, {"state": "closed"}, {"$set": dict(fields)}, op=str(command["_id"])
        )
        return None if done.applied else refused(ErrorCode.CONFLICT, "the workflow is held already")

    async def _tell(self, command: Mapping[str, Any], kind: EventKind, text: str) -> None:
        """The event and the audit entry of a change; each once, because their ids follow from the request."""
        id, account = str(command["target"]), str(command["target"]).partition("/")[0]
        event = event_document(
            kind, id=f"{kind.value}/{command['_id']}", at=now(), service="scheduler", severity=Severity.INFO, target=id,
            account=account, text=f"workflow {id} {text}", facts={"reason": "person", "by": command["by"]},
        )  # fmt: skip
        if await raise_event(self._mongo, event):
            await audit(
                self._mongo, by=str(command["by"]), action=str(command["kind"]), target=id, account=account,
                details={"command": command["_id"], **command["args"]},
            )  # fmt: skip
