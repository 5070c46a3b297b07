"""Requests about a whole workflow: a person holds it, or releases what a person or its circuit breaker held.

Called by: requests.py (the routes). Owns: `circuits`, with settling.py. A held workflow keeps its tasks queued; runs at
work end after the task in hand (closing.py). Survives a crash: each request is one guarded write under its own id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.scheduler.core.judging import held_by
from services.scheduler.requests import DONE, Outcome, Work, refused
from shared.domain.events import EventKind, Severity, event_document
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.mongo.events import raise_event
from shared.mongo.guarded import guarded_update, insert_once
from shared.obs.clock import now

TEXT_MAX = 500


class WorkflowRequests:
    """What people ask for about a workflow."""

    def __init__(self, mongo: Mongo, *, kick: Callable[[], None]) -> None:
        self._mongo = mongo
        self._kick = kick

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {"workflow.hold": self.hold, "workflow.release": self.release}

    async def hold(self, command: Mapping[str, Any]) -> Outcome:
        """Let a workflow take no more tasks."""
        at, text = now(), str(command["args"].get("text") or "")[:TEXT_MAX]
        fields = held_by(str(command["by"]), text, at)
        problem = await self._change(command, {"state": "closed"}, fields)
        if problem is not None:
            return problem
        await self._tell(
            command, EventKind.WORKFLOW_HELD, f"is held by {command['by']}: {text or 'no reason was given'}"
        )
        return DONE

    async def release(self, command: Mapping[str, Any]) -> Outcome:
        """Let a held workflow go on; its failures are counted from zero."""
        fields = {
            "state": "closed",
            "failures": 0,
            "runs": 0,
            "reason": None,
            "text": "",
            "at": now(),
            "by": command["by"],
            "run": None,
        }
        problem = await self._change(command, {"state": "open"}, fields)
        if problem is not None:
            return problem
        await self._tell(command, EventKind.WORKFLOW_RELEASED, f"was released by {command['by']}")
        self._kick()
        return DONE

    async def _change(
        self, command: Mapping[str, Any], expect: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> Outcome | None:
        """Change the circuit breaker; an outcome when there was nothing to change."""
        id = str(command["target"])
        workflow = await self._mongo["workflows"].find_one({"_id": id}, {"account": 1, "name": 1})
        if workflow is None:
            return refused(ErrorCode.NOT_FOUND, f"there is no workflow {id}")
        fresh = {
            "_id": id, "schema_version": 1, "account": workflow["account"], "workflow": workflow["name"],
            "state": "closed", "failures": 0, "reason": None, "text": "", "at": None, "by": None, "run": None,
        }  # fmt: skip
        await insert_once(self._mongo["circuits"], fresh)
        done = await guarded_update(self._mongo["circuits"], id, expect, {"$set": dict(fields)}, op=str(command["_id"]))
        if done.applied:
            return None
        state = (done.document or {}).get("state")
        return refused(
            ErrorCode.CONFLICT, "the workflow is held already" if state == "open" else "the workflow is not held"
        )

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
