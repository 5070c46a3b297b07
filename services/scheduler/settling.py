"""Putting an ended run away: its robot is freed, its workflow and robot judged, limits put right: one transaction.

Called by: recovery.py, after the tasks that the run left were brought back. Survives a crash: the hand-over is cleared
in the same transaction, so all of it happens once, by whichever scheduler comes first. Change also: ARCHITECTURE.md
(hand-offs, circuits), core/judging.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.scheduler.core.judging import (
    Judgement,
    circuit_after,
    closed_circuit,
    failed_by_no_fault,
    health_after,
    judge,
    runs_after,
    scenario_after,
)
from services.scheduler.core.robots import drained_event, released
from services.scheduler.core.standby import judged, pause_after
from services.scheduler.core.tasks import OWNER
from services.scheduler.store.tasks import take_out
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.gates import Rules, circuit_id, rules_of
from shared.domain.run_state import FINAL
from shared.domain.warm import PARKED_QUERY
from shared.mongo import Mongo, Session
from shared.mongo.events import raise_event
from shared.mongo.guarded import in_transaction, insert_once
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

PACE_WEIGHT = 0.1
"""Of a new run in the moving averages of handling times."""
TASK_FIELDS = {
    "state": 1,
    "error.kind": 1,
    "counted": 1,
    "started_at": 1,
    "finished_at": 1,
    "held_by": 1,
}

QUARANTINED = counter("regente_robots_quarantined_total", "Robots put into quarantine.", [])
HELD = counter("regente_workflows_held_total", "Workflows or scenarios held by a circuit breaker.", ["reason"])

log = get_logger(__name__)


class Settling:
    """Puts ended runs away."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def settle(self, run: Mapping[str, Any]) -> bool:
        """Put a run away, once; false when somebody did before.

        run: its document, ended. Raises: TemporaryError.
        """
        workflow = await self._mongo["workflows"].find_one(
            {"_id": f"{run['account']}/{run['workflow']}"}, {"settings": 1}
        )
        rules = rules_of((workflow or {}).get("settings"))
        items = (run.get("tasks") or [])[judged(run)[0] :]
        judgement = judge({**run, "tasks": items})
        tasks = await self._tasks(items)
        if judgement.workflow or judgement.login_rejected or judgement.setup is False:
            await self._make_circuit(run)
        if judgement.setup is False:
            await self._make_circuit(run, str(run["scenario"]))

        async def body(session: Session) -> list[dict[str, Any]] | None:
            return await self._body(run, rules, judgement, tasks, session)

        events = await in_transaction(self._mongo, body)
        if events is None:
            return False
        self._tell(run, events)
        if not run.get("once"):
            await self._note_pace(run, tasks)
        return True

    async def judge_parked(self, run: Mapping[str, Any]) -> bool:
        """Judge what has ended so far in a run that is kept warm; it may live for days. False when that was done.

        run: its document, parked.
        """
        workflow = await self._mongo["workflows"].find_one(
            {"_id": f"{run['account']}/{run['workflow']}"}, {"settings": 1}
        )
        rules, (before, until) = rules_of((workflow or {}).get("settings")), judged(run)
        items = run["tasks"][before:until]
        judgement, tasks = judge({**run, "tasks": items, "end": None}), await self._tasks(items)
        if judgement.workflow or judgement.login_rejected:
            await self._make_circuit(run)

        async def body(session: Session) -> list[dict[str, Any]] | None:
            guard = {"_id": run["_id"], **PARKED_QUERY, "judged": run.get("judged")}
            note = {"$set": {"judged": until}}
            if not (await self._mongo["runs"].update_one(guard, note, session=session)).matched_count:
                return None
            return await self._judge(run, rules, judgement, tasks, session, ended=False)

        events = await in_transaction(self._mongo, body)
        if events is None:
            return False
        self._tell(run, events, ended=False)
        await self._note_pace(run, tasks)
        return True

    async def _tasks(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        ids = [item["task"] for item in items]
        return await self._mongo["tasks"].find({"_id": {"$in": ids}}, TASK_FIELDS).to_list(None) if ids else []

    async def _body(
        self, run: Mapping[str, Any], rules: Rules, judgement: Judgement, tasks: Sequence[Mapping[str, Any]],
        session: Session,
    ) -> list[dict[str, Any]] | None:  # fmt: skip
        """The events that it raised; none: it was put away before."""
        guard = {"_id": run["_id"], "pending.to": OWNER, "state": {"$in": sorted(FINAL)}}
        put_away = {"$set": {"pending": None, "settled_at": now()}}
        if not (await self._mongo["runs"].update_one(guard, put_away, session=session)).matched_count:
            return None
        if run.get("warm"):
            await self._pause_standby(run, session)
        return await self._judge(run, rules, judgement, tasks, session, ended=True)

    async def _pause_standby(self, run: Mapping[str, Any], session: Session) -> None:
        """Note on the lock of a warm run whether it failed: the next one is opened after growing pauses."""
        for lock in run.get("locks") or ():
            if lock.startswith("warm/"):
                slot = await self._mongo["slots"].find_one({"_id": lock}, session=session)
                fields = pause_after(run, slot, now())
                await self._mongo["slots"].update_one({"_id": lock}, {"$set": fields}, session=session)

    async def _judge(
        self, run: Mapping[str, Any], rules: Rules, judgement: Judgement, tasks: Sequence[Mapping[str, Any]],
        session: Session, *, ended: bool,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Free the robot of a run that ended, and write down what follows from its tasks; the events that it raised."""
        ids = [circuit_id(run["account"], run["workflow"], of) for of in (None, run["scenario"])]
        known = {one["_id"]: one async for one in self._mongo["circuits"].find({"_id": {"$in": ids}}, session=session)}
        circuit, scenario = (known.get(id) for id in ids)
        # a workflow without a circuit breaker excuses no robot
        excused = runs_after(circuit, judgement) if rules.failures_max is not None else 0
        events = await self._judge_robot(run, judgement, excused, session, ended=ended)
        events += await self._judge_workflow(run, rules, judgement, circuit, session)
        events += await self._judge_scenario(run, rules, judgement, scenario, session)
        for task in failed_by_no_fault(tasks, rules):
            still = {"_id": task["_id"], "state": task["state"], "counted.run": task["counted"]["run"]}
            done = await self._mongo["tasks"].update_one(still, {"$set": {"counted": None}}, session=session)
            if done.modified_count:
                await take_out(self._mongo, task["counted"]["in"], session)
        for event in events:
            await raise_event(self._mongo, event, session=session)
        return events

    async def _judge_robot(
        self, run: Mapping[str, Any], judgement: Judgement, excused: int, session: Session, *, ended: bool
    ) -> list[dict[str, Any]]:
        """The robot's health, and the robot itself free when the run ended."""
        if not run.get("worker"):
            return []
        guard = {"_id": run["worker"], "run": run["_id"], "epoch": run["epoch"]}
        worker = await self._mongo["workers"].find_one(guard, session=session)
        if worker is None:
            return []
        at = now()
        health = health_after(worker, judgement.robot, judgement.failure, at, workflow_failures=excused)
        fields: dict[str, Any] = dict(health)
        if ended:
            follow = {"follow.at": at} if worker.get("follow") else {}
            fields |= {**released(worker), **follow, "op": f"release/{run['_id']}/{run['epoch']}"}
        if fields:
            await self._mongo["workers"].update_one(guard, {"$set": fields}, session=session)
        drained = drained_event(worker, fields, at) if ended else None
        return [*([drained] if drained else []), *_quarantined(worker, health, run, at)]

    async def _judge_workflow(
        self, run: Mapping[str, Any], rules: Rules, judgement: Judgement, circuit: Mapping[str, Any] | None,
        session: Session,
    ) -> list[dict[str, Any]]:  # fmt: skip
        if not judgement.workflow and judgement.login_rejected is None and judgement.setup is not False:
            return []
        id, at = circuit_id(run["account"], run["workflow"]), now()
        fields = circuit_after(circuit, judgement, rules, run["_id"], at)
        if fields is None:
            return []
        await self._mongo["circuits"].update_one({"_id": id}, {"$set": fields}, session=session)
        return _opened(id, fields, run, at) if fields["state"] == "open" else []

    async def _judge_scenario(
        self, run: Mapping[str, Any], rules: Rules, judgement: Judgement, circuit: Mapping[str, Any] | None,
        session: Session,
    ) -> list[dict[str, Any]]:  # fmt: skip
        at = now()
        fields = scenario_after(circuit, judgement, rules, run["_id"], at)
        if fields is None:
            return []
        id = circuit_id(run["account"], run["workflow"], run["scenario"])
        await self._mongo["circuits"].update_one({"_id": id}, {"$set": fields}, session=session)
        return [_scenario_held(fields, run, at)] if fields["state"] == "open" else []

    async def _make_circuit(self, run: Mapping[str, Any], scenario: str | None = None) -> None:
        """The document exists before the transaction changes it."""
        id = circuit_id(run["account"], run["workflow"], scenario)
        if await self._mongo["circuits"].find_one({"_id": id}, {"_id": 1}) is None:
            await insert_once(self._mongo["circuits"], closed_circuit(run["account"], run["workflow"], scenario))

    async def _note_pace(self, run: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> None:
        """Keep how long tasks take, and what a run takes besides. It serves forecasts only, so a loss does no harm."""
        times = [_took_s(task) for task in tasks]
        measured = [one for one in times if one is not None]
        started, finished, overhead_s = run.get("started_at"), run.get("finished_at"), 0.0
        if not run.get("warm"):  # one that is kept warm mostly stands ready
            if started is None or finished is None:
                return
            overhead_s = max(0.0, (finished - started).total_seconds() - sum(measured))
        if not measured:
            return
        task_s = sum(measured) / len(measured)
        samples = {"$ifNull": ["$samples", 0]}
        weight = {"$max": [PACE_WEIGHT, {"$divide": [1, {"$add": [samples, 1]}]}]}
        fields = {
            name: {"$add": [{"$multiply": [{"$ifNull": [f"${name}", 0]}, {"$subtract": [1, weight]}]},
                            {"$multiply": [value, weight]}]}
            for name, value in (("task_s", task_s), ("overhead_s", overhead_s))
        }  # fmt: skip
        await self._mongo["paces"].update_one(
            {"_id": f"{run['account']}/{run['workflow']}"},
            [{"$set": {**fields, "samples": {"$add": [samples, 1]}, "schema_version": 1}}],
            upsert=True,
        )

    def _tell(self, run: Mapping[str, Any], events: Sequence[Mapping[str, Any]], *, ended: bool = True) -> None:
        if run.get("worker") and ended:
            log.info("robot_released", worker=run["worker"], run=run["_id"])
        for event in events:
            log.warning(event["kind"], target=event["target"], account=event["account"], reason=event["text"])
            if event["kind"] == EventKind.ROBOT_QUARANTINED:
                QUARANTINED.inc()
            if event["kind"] == EventKind.WORKFLOW_HELD:
                HELD.labels(event["facts"]["reason"]).inc()
            if event["kind"] == EventKind.SCENARIO_HELD:
                HELD.labels("setup").inc()


def _took_s(task: Mapping[str, Any]) -> float | None:
    started, finished = task.get("started_at"), task.get("finished_at")
    return None if started is None or finished is None or finished < started else (finished - started).total_seconds()


def _quarantined(
    worker: Mapping[str, Any], health: Mapping[str, Any], run: Mapping[str, Any], at: datetime
) -> list[dict[str, Any]]:
    quarantine = health.get("quarantine")
    if not quarantine:
        return []
    text = f"robot {worker.get('name') or worker['_id']} gets no work until {quarantine['until']:%Y-%m-%dT%H:%M:%SZ}: "
    return [
        event_document(
            EventKind.ROBOT_QUARANTINED, id=f"quarantined/{run['_id']}", at=at, service=OWNER,
            severity=Severity.WARNING, target=worker["_id"], account=worker.get("account"),
            text=text + str(quarantine["reason"]), facts={**quarantine, "run": run["_id"]},
        )
    ]  # fmt: skip


def _opened(id: str, fields: Mapping[str, Any], run: Mapping[str, Any], at: datetime) -> list[dict[str, Any]]:
    """A workflow's circuit breaker opened: the workflow is held, and if a log-in was refused, that is said as well."""
    facts = {"reason": fields["reason"], "failures": fields["failures"], "run": run["_id"], "worker": run.get("worker")}
    held = event_document(
        EventKind.WORKFLOW_HELD, id=f"held/{run['_id']}", at=at, service=OWNER, severity=Severity.ERROR, target=id,
        account=run["account"], text=f"workflow {id} is held: {fields['text']}", facts=facts,
    )  # fmt: skip
    if fields["reason"] != "login_rejected":
        return [held]
    rejected = event_document(
        EventKind.LOGIN_REJECTED, id=f"login/{run['_id']}", at=at, service=OWNER, severity=Severity.ERROR, target=id,
        account=run["account"], text=str(fields["text"]), facts={**facts, "group": dict(run.get("group") or {})},
    )  # fmt: skip
    return [rejected, held]


def _scenario_held(fields: Mapping[str, Any], run: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """A scenario's circuit breaker opened: its tasks wait, the workflow's other scenarios go on."""
    id = circuit_id(run["account"], run["workflow"])
    facts = {
        "reason": fields["reason"], "failures": fields["failures"], "scenario": run["scenario"], "run": run["_id"],
        "worker": run.get("worker"),
    }  # fmt: skip
    return event_document(
        EventKind.SCENARIO_HELD, id=f"scenario_held/{run['_id']}", at=at, service=OWNER, severity=Severity.ERROR,
        target=id, account=run["account"], facts=facts,
        text=f"scenario {run['scenario']} of workflow {id} is held: {fields['text']}",
    )  # fmt: skip
