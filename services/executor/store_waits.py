"""The queries about waits: parking a run, waking it, and the decisions that people are asked for.

Called by: runner.py (parks), waiting.py (asks), handlers.py (answers), recovery.py (sweeps). Owns: `decisions`.
Survives a crash: a parked run is a document; each method is one guarded write. A decision that was answered keeps
`woken: false` until its run has taken the answer in, so the sweep wakes the run again if the first try was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.executor.store import OWNER, Superseded, step_id
from shared.domain.decision import DecisionState, address_of
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.run_state import RUN, RunState
from shared.mongo import Mongo
from shared.mongo.events import raise_event
from shared.mongo.guarded import Guarded, guarded_update, insert_once
from shared.obs.clock import now
from shared.obs.ids import new_id

SWEEP_MAX = 200


class WaitStore:
    """Waits in the database."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    # runs

    async def park(self, run: Mapping[str, Any], wait: Mapping[str, Any]) -> None:
        """Put a run away until its wait is over; with `release`, its robot is handed back to the scheduler.

        Raises: Superseded when the token isn't the run's any more.
        """
        at = now()
        handed = {"to": "scheduler", "what": "parked", "since": at, "due_at": at, "claims": 0}
        frees = bool(wait["release"]) and run.get("worker") is not None
        fields = {
            "state": RunState.WAITING, "executor": None, "wait": dict(wait), "progressed_at": at,
            "pending": handed if frees else None,
        }  # fmt: skip
        expect = {"token": run["token"], "state": {"$in": [*RUN.sources(RunState.WAITING, owner=OWNER)]}}
        op = f"park/{wait['kind']}/{wait['seq']}/{run['token']}"
        done = await guarded_update(self._mongo["runs"], run["_id"], expect, {"$set": fields}, op=op)
        if not done.applied:
            raise Superseded(f"run {run['_id']}: token {run['token']} no longer holds it")

    async def wake(self, run: str, seq: int | None = None) -> dict[str, Any] | None:
        """Have a parked run go on; the run when somebody should take it now.

        seq: of the wait that is over; none: whatever it waits for (it is to stop). A run that gave its robot back
        needs one first, which is the scheduler's to find.
        """
        at = now()
        handed = {"to": OWNER, "what": "woken", "since": at, "due_at": at, "claims": 0}
        parked: dict[str, Any] = {"executor": None, "pending": None}
        if seq is not None:
            parked["wait.seq"] = seq
        has_desk = {**parked, "state": RunState.WAITING, "$or": [{"wait.release": False}, {"epoch": 0}]}
        if seq is None:
            has_desk = {**parked, "state": {"$in": [RunState.WAITING, RunState.OPENED]}}
        done = await guarded_update(
            self._mongo["runs"], run, has_desk, {"$set": {"pending": handed}}, op=new_id("wake/")
        )
        if done.applied or seq is None:
            return done.document if done.applied else None
        gave_back = {**parked, "state": RunState.WAITING, "wait.release": True, "worker": None}
        wants = {"state": RunState.OPENED, "wants_robot": True, "wanted_at": at}
        await guarded_update(self._mongo["runs"], run, gave_back, {"$set": wants}, op=new_id("want/"))
        return None

    async def due(self) -> list[dict[str, Any]]:
        """Parked runs whose time is over."""
        query = {"state": RunState.WAITING, "executor": None, "pending": None, "wait.due_at": {"$lte": now()}}
        return await self._mongo["runs"].find(query).limit(SWEEP_MAX).to_list(None)

    async def stopped(self) -> list[str]:
        """Runs in nobody's hand that somebody wants stopped."""
        query = {
            "state": {"$in": [RunState.WAITING, RunState.OPENED]}, "executor": None, "pending": None,
            "abort.at": {"$type": "date"},
            "$or": [{"abort.kind": {"$ne": "after_task"}}, {"wait.kind": "warm"}],
        }  # fmt: skip
        found = self._mongo["runs"].find(query, {"_id": 1}).limit(SWEEP_MAX)
        return [document["_id"] async for document in found]

    # decisions

    async def ask(self, decision: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a person, once; the decision as it stands. Whoever listens for events is told first: a question that is
        there is not asked again, so after a crash between the two nobody would ever be told."""
        event = event_document(
            EventKind.DECISION_ASKED, id=f"decision/{decision['_id']}", at=decision["asked_at"], service="executor",
            severity=Severity.WARNING, target=decision["_id"], text=decision["question"], account=decision["account"],
            facts={
                "link_path": f"/decisions/{address_of(decision['_id'])}",
                **{key: decision[key] for key in ("workflow", "task", "run", "options", "due_at")},
            },
        )  # fmt: skip
        await raise_event(self._mongo, event)
        await insert_once(self._mongo["decisions"], decision)
        found = await self._mongo["decisions"].find_one({"_id": decision["_id"]})
        assert found is not None
        return found

    async def decision(self, id: str) -> dict[str, Any] | None:
        """A decision by its id."""
        return await self._mongo["decisions"].find_one({"_id": id})

    async def answer(self, id: str, answer: str, by: str, command: str) -> Guarded:
        """Note an answer, if the question is open and in time."""
        at = now()
        expect = {"state": DecisionState.OPEN, "$or": [{"due_at": None}, {"due_at": {"$gt": at}}]}
        fields = {"state": DecisionState.ANSWERED, "answer": answer, "by": by, "at": at}
        return await guarded_update(self._mongo["decisions"], id, expect, {"$set": fields}, op=f"answer/{command}")

    async def expire(self, id: str) -> None:
        """Its time is over."""
        at = now()
        fields = {"state": DecisionState.EXPIRED, "at": at}
        expect = {"state": DecisionState.OPEN, "due_at": {"$lte": at}}
        await guarded_update(self._mongo["decisions"], id, expect, {"$set": fields}, op="expire")

    async def taken_in(self, id: str) -> None:
        """The run knows how its question ended."""
        await self._mongo["decisions"].update_one({"_id": id}, {"$set": {"woken": True}})

    async def withdraw(self, run: str) -> None:
        """A run ended: its questions need no answer any more."""
        fields = {"state": DecisionState.WITHDRAWN, "at": now(), "woken": True}
        await self._mongo["decisions"].update_many({"run": run, "state": DecisionState.OPEN}, {"$set": fields})
        await self._mongo["decisions"].update_many({"run": run, "woken": False}, {"$set": {"woken": True}})

    async def not_taken_in(self) -> list[dict[str, Any]]:
        """Answers that their runs may not know of."""
        query = {"woken": False, "state": {"$ne": DecisionState.OPEN}}
        return await self._mongo["decisions"].find(query, {"run": 1, "seq": 1}).limit(SWEEP_MAX).to_list(None)

    async def image(self, run: str, sha256: str) -> str | None:
        """Id of the evidence of a run with this hash, or with this name (the newest)."""
        query = {"run": run, "$or": [{"sha256": sha256}, {"name": sha256}]}
        found = await self._mongo["evidence_links"].find_one(query, {"_id": 1}, sort=[("seq", -1)])
        return str(found["_id"]) if found else None


def decision_id(run: str, seq: int) -> str:
    """Identity of the question that a run asked at an entry."""
    return step_id(run, seq)
