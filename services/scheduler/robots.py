"""Robots and people: enrolment, authorisation, revocation, removal, mode, and doubts.

Called by: api.py (enrolment), handlers.py (requests), presence.py (doubts). Survives a crash: the document changes
first, then the broker is made to follow it; what is missing there is found by the next comparison (rights.py). A
revocation is not done before the robot's connection is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from services.scheduler.core.contact import Contact, sessions_gone
from services.scheduler.core.enrolment import Answer as Enrolled
from services.scheduler.core.enrolment import Decision, decide, known_of
from services.scheduler.core.robots import status_after_mode, superseded
from services.scheduler.hints import Hints
from services.scheduler.requests import DONE, TRIES, Later, Outcome, Work, refused
from services.scheduler.rights import Rights
from services.scheduler.store.requests import RequestStore
from services.scheduler.store.workers import WorkerStore
from shared.contracts.settings_file import WorkerConfig
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.worker_state import Authorisation, WorkerMode, WorkerStatus
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.mongo.events import raise_event
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

DOUBTS = counter("regente_robots_doubted_total", "Doubts about robots that took or kept their authorisation away.", [])

SUPERSEDED = refused(ErrorCode.CONFLICT, "somebody set another mode after this was asked for")

log = get_logger(__name__)


@dataclass(frozen=True)
class Enrolment:
    """What a robot says about itself when it enrols."""

    worker: str
    key: str
    addresses: list[str]
    name: str
    os: str
    agent_version: str
    drivers: list[str]
    contact: Contact
    epoch: int = 0
    """The highest epoch it has seen: one that was removed and enrols again refuses lower ones."""
    opens_sealed: bool = False
    """Whether its agent can open arguments that are sealed to it."""


@dataclass(frozen=True)
class Admission:
    """What an enrolling robot is told."""

    answer: Enrolled
    detail: str = ""
    grant: int = 0
    """For AUTHORISED: what its password derives from."""


class Robots:
    """Everything that people and robots decide about robots."""

    def __init__(
        self, mongo: Mongo, rights: Rights, hints: Hints, *, pending_max: int, kick: Callable[[], None]
    ) -> None:
        self._mongo = mongo
        self._workers = WorkerStore(mongo)
        self._requests = RequestStore(mongo)
        self._rights = rights
        self._hints = hints
        self._pending_max = pending_max
        self._kick = kick
        """Has the dispatcher and the sweep for lost robots look again."""

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {
            "worker.authorise": self.authorise,
            "worker.revoke": self.revoke,
            "worker.remove": self.remove,
            "worker.mode": self.mode,
            "worker.config": self.config,
            "worker.drain": self.drain,
            "worker.release": self.release,
        }

    async def enrol(self, request: Enrolment) -> Admission:
        """A robot asks for admission.

        Raises: PermanentError TOO_MANY when too many robots wait for a person.
        """
        key_hash = hashlib.sha256(request.key.encode()).hexdigest()
        for _ in range(TRIES):
            worker = await self._workers.worker(request.worker)
            decision = decide(worker, key_hash=key_hash, contact=request.contact)
            if await self._follow(worker, decision, request, key_hash):
                return Admission(decision.answer, decision.detail, int((worker or {}).get("grant", 0)))
        raise TemporaryError("this robot's document changes too fast; ask again", delay_s=1.0)

    async def authorise(self, command: Mapping[str, Any]) -> Outcome:
        """A person says that a robot may work: a new grant, with a new password; its journal is taken as it is then."""
        at = now()
        fields = {
            "authorisation": Authorisation.AUTHORISED, "authorised_by": command["by"], "authorised_at": at,
            "doubt": None, "journal": None, "session": None, "sessions_gone": [], "seen.beat": None, "connected": False,
        }  # fmt: skip
        if "account" in command["args"]:
            fields["account"] = command["args"]["account"]
        expect = {"authorisation": {"$in": [Authorisation.PENDING, Authorisation.REVOKED]}}
        done = await self._workers.change(
            command["target"], expect, {"$set": fields, "$inc": {"grant": 1}}, op=command["_id"]
        )
        if done.document is None:
            return _unknown(command)
        if not done.applied and done.document["authorisation"] != Authorisation.AUTHORISED:
            return Later()
        if done.applied:
            await self._audit(command, {"grant": done.document["grant"]})
        await self._rights.follow_soon(command["target"])
        return DONE

    async def revoke(self, command: Mapping[str, Any]) -> Outcome:
        """A person takes a robot's authorisation away; done when its connection is gone."""
        worker = await self._workers.worker(command["target"])
        if worker is None:
            return _unknown(command)
        await self._unauthorise(command["target"], None, op=command["_id"])
        await self._rights.follow(command["target"])
        if worker["authorisation"] != Authorisation.REVOKED:
            await self._audit(command, {})
        self._kick()
        return DONE

    async def remove(self, command: Mapping[str, Any]) -> Outcome:
        """A person has a robot forgotten: revoked at once, removed as soon as no run is on it."""
        worker = await self._workers.worker(command["target"])
        if worker is None:
            return DONE if command["claims"] > 0 else _unknown(command)
        await self._unauthorise(command["target"], None, op=command["_id"])
        await self._rights.follow(command["target"])
        self._kick()
        if not await self._workers.remove(command["target"]):
            return Later(1.0)
        await self._audit(command, {})
        return DONE

    async def mode(self, command: Mapping[str, Any]) -> Outcome:
        """A person says what a robot is to do; `abort` also ends the run that it has."""
        try:
            mode = WorkerMode(command["args"].get("mode"))
        except ValueError:
            return refused(ErrorCode.INVALID_INPUT, f"a mode is one of {', '.join(WorkerMode)}")
        for _ in range(TRIES):
            worker = await self._workers.worker(command["target"])
            if worker is None:
                return _unknown(command)
            if superseded(worker, command):
                return SUPERSEDED
            status = status_after_mode(WorkerStatus(worker["status"]), mode)
            expect = {
                **{key: worker[key] for key in ("mode", "status", "run")},
                "mode_asked_at": worker.get("mode_asked_at"),
            }
            update = {
                "$set": {"mode": mode, "status": status, "drain": None, "mode_asked_at": command.get("created_at")}
            }
            if (await self._workers.change(worker["_id"], expect, update, op=command["_id"])).applied:
                await self._audit(command, {"mode": mode, "before": worker["mode"]})
                await self._stop_run(worker, mode, command)
                self._kick()
                return DONE
        return Later()

    async def config(self, command: Mapping[str, Any]) -> Outcome:
        """A person says what a robot may run, what it has, and when it may work; fields not named stay."""
        try:
            given = WorkerConfig.model_validate(command["args"])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return refused(ErrorCode.INVALID_INPUT, f"{where}: {first['msg']}")
        fields = given.model_dump(mode="json", exclude_unset=True)
        done = await self._workers.change(command["target"], {}, {"$set": fields}, op=command["_id"])
        if done.document is None:
            return _unknown(command)
        await self._audit(command, fields)
        self._kick()
        return DONE

    async def drain(self, command: Mapping[str, Any]) -> Outcome:
        """A person wants a robot to finish the run in hand and then stop."""
        for _ in range(TRIES):
            worker = await self._workers.worker(command["target"])
            if worker is None:
                return _unknown(command)
            if superseded(worker, command):
                return SUPERSEDED
            fields: dict[str, Any] = {
                "drain": {"by": command["by"], "at": now()},
                "mode_asked_at": command.get("created_at"),
            }
            if worker.get("run") is None:
                status = status_after_mode(WorkerStatus(worker["status"]), WorkerMode.STOP)
                fields |= {"mode": WorkerMode.STOP, "status": status, "drain": None}
            expect = {
                **{key: worker[key] for key in ("mode", "status", "run")},
                "mode_asked_at": worker.get("mode_asked_at"),
            }
            if (await self._workers.change(worker["_id"], expect, {"$set": fields}, op=command["_id"])).applied:
                await self._audit(command, {"run": worker.get("run")})
                self._kick()
                return DONE
        return Later()

    async def release(self, command: Mapping[str, Any]) -> Outcome:
        """A person ends a robot's quarantine; its failures are counted from zero."""
        fields = {"quarantine": None, "failures": 0}
        done = await self._workers.change(command["target"], {}, {"$set": fields}, op=command["_id"])
        if done.document is None:
            return _unknown(command)
        await self._audit(command, {})
        self._kick()
        return DONE

    async def doubt(self, id: str, reason: str) -> None:
        """Something is wrong about a robot: note it, and if it is authorised, take that away and cut its connection."""
        worker = await self._workers.worker(id)
        if worker is None:
            return
        await self._tell_attempt(worker, reason)  # first: who dies after it meets the same doubt again
        if worker["authorisation"] != Authorisation.AUTHORISED:
            if (worker.get("doubt") or {}).get("reason") != reason:
                update = {"$set": {"doubt": _doubt(reason, now())}}
                await self._workers.change(id, {"authorisation": worker["authorisation"]}, update, op=new_id("op_"))
            return
        if await self._unauthorise(id, reason, op=new_id("op_")):
            DOUBTS.inc()
            log.warning("robot_doubted", worker=id, reason=reason)
            await audit(self._mongo, by="scheduler", action="worker.doubt", target=id, account=worker.get("account"),
                        details={"reason": reason})  # fmt: skip
        self._kick()
        await self._rights.follow_soon(id)

    async def _tell_attempt(self, worker: Mapping[str, Any], reason: str) -> None:
        """Somebody has to know; once an hour for each robot and reason, however often it is tried."""
        at, name = now(), worker.get("name") or worker["_id"]
        mark = hashlib.sha256(reason.encode()).hexdigest()[:8]
        id = f"doubt/{worker['_id']}/{worker['grant']}/{mark}/{at:%Y-%m-%dT%H}"
        event = event_document(
            EventKind.UNAUTHORISED_ATTEMPT, id=id, at=at, service="scheduler", severity=Severity.ERROR,
            target=worker["_id"], account=worker.get("account"), text=f"robot {name}: {reason}",
            facts={"worker": worker["_id"], "reason": reason},
        )  # fmt: skip
        await raise_event(self._mongo, event)

    async def _follow(
        self, worker: Mapping[str, Any] | None, decision: Decision, request: Enrolment, key_hash: str
    ) -> bool:
        """Store what an enrolment brings; false when the document changed meanwhile, and all is to be judged anew."""
        if decision.insert:
            if await self._workers.pending_count(self._pending_max) >= self._pending_max:
                raise PermanentError(
                    ErrorCode.TOO_MANY, f"{self._pending_max} robots wait for a person to authorise or remove them"
                )
            return await self._workers.insert(_document(request, key_hash, now()))
        assert worker is not None
        if decision.doubt is not None:
            await self.doubt(request.worker, decision.doubt)
            return True
        if decision.refresh:
            expect = {
                "authorisation": worker["authorisation"],
                "grant": worker["grant"],
                "session": worker.get("session"),
            }
            fields = {**_about(request), "sessions_gone": sessions_gone(known_of(worker), request.contact.session)}
            if request.contact.session != worker.get("session"):
                fields["seen.beat"] = None
            return (await self._workers.change(request.worker, expect, {"$set": fields}, op=new_id("op_"))).applied
        return True

    async def _unauthorise(self, id: str, reason: str | None, *, op: str) -> bool:
        """Take a robot's authorisation away; the next grant has another password."""
        fields = {"authorisation": Authorisation.REVOKED, "connected": False}
        doubt = {"doubt": _doubt(reason, now())} if reason is not None else {}
        expect = {"authorisation": {"$ne": Authorisation.REVOKED}}
        update = {"$set": {**fields, **doubt}, "$inc": {"grant": 1}}
        return (await self._workers.change(id, expect, update, op=op)).applied

    async def _stop_run(self, worker: Mapping[str, Any], mode: WorkerMode, command: Mapping[str, Any]) -> None:
        """Have the executor end a robot's run: now for abort, after the current task for stop."""
        kind = {WorkerMode.ABORT: "run.abort", WorkerMode.STOP: "run.stop"}.get(mode)
        if kind is None or worker.get("run") is None:
            return
        args = {"reason": f"{command['by']} set its robot to {mode}", "by": command["by"]}
        id = f"{command['_id']}_run"
        if await self._requests.ask(id, kind=kind, to="executor", target=worker["run"], args=args):
            self._hints.command(id, "executor")

    async def _audit(self, command: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        await audit(
            self._mongo, by=command["by"], action=f"{command['kind']}.done", target=command["target"], account=None,
            details={"command": command["_id"], **details},
        )  # fmt: skip


def _document(request: Enrolment, key_hash: str, at: datetime) -> dict[str, Any]:
    """A robot that enrols for the first time."""
    return {
        "_id": request.worker, "schema_version": 1, "account": None, "key_hash": key_hash,
        "authorisation": Authorisation.PENDING, "authorised_by": None, "authorised_at": None, "grant": 0, "doubt": None,
        "connected": False, "status": WorkerStatus.WAITING, "mode": WorkerMode.RUN, "run": None,
        "epoch": request.epoch, "workflows": None, "exclusive": None, "tags": [], "schedule": None, "quarantine": None,
        "failures": 0, "drain": None, "mode_asked_at": None, "follow": None,
        "sessions_gone": [], "seen": {}, "enrolled_at": at, "op": new_id("op_"), **_about(request),
    }  # fmt: skip


def _about(request: Enrolment) -> dict[str, Any]:
    """What a robot says about itself, as stored."""
    contact = request.contact
    return {
        "addresses": request.addresses, "name": request.name, "os": request.os, "agent_version": request.agent_version,
        "drivers": request.drivers, "journal": {"id": contact.journal, "counter": contact.counter},
        "session": contact.session, "opens_sealed": request.opens_sealed,
    }  # fmt: skip


def _doubt(reason: str, at: datetime) -> dict[str, Any]:
    return {"reason": reason, "at": at}


def _unknown(command: Mapping[str, Any]) -> Outcome:
    return refused(ErrorCode.NOT_FOUND, f"there is no robot {command['target']}")
