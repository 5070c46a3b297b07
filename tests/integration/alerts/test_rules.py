"""Every rule about work, robots and partners fires because its condition is there, and resolves because it is gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from services.alerts.reads.table import database_reads
from shared.domain.alert_rules import EVENT_KINDS, INSTALLATION_KINDS, RuleKind
from shared.domain.events import EventKind, Severity, event_document
from shared.mongo.events import raise_event
from shared.obs.clock import now
from tests.integration.alerts.conftest import Alerts, until
from tests.integration.scheduler.conftest import World, ago

Act = Callable[[World], Awaitable[Any]]


@dataclass(frozen=True)
class Case:
    """What makes a rule fire, and what resolves it."""

    kind: RuleKind
    target: str
    wrong: Act
    right: Act
    params: dict[str, Any]
    says: str


async def _set(world: World, collection: str, id: str, **fields: Any) -> None:
    await world.mongo[collection].update_one({"_id": id}, {"$set": fields})


async def _running(world: World, progressed: float = 60) -> None:
    robot = await world.robot(1, run="run_1", status="running")
    await world.tasks(
        1, _id="task_1", state="running", started_at=ago(seconds=60), held_by={"run": "run_1"}, queue=None
    )
    run = {
        "_id": "run_1", "account": "acme", "workflow": "tax", "state": "executing", "worker": robot, "executor": "e-1",
        "progressed_at": ago(seconds=progressed), "tasks": [{"task": "task_1", "state": "running", "attempt": 1}],
        "pending": None,
    }  # fmt: skip
    await world.mongo["runs"].insert_one(run)


async def _ended(world: World) -> None:
    await _set(world, "tasks", "task_1", state="succeeded", finished_at=now(), held_by=None)
    await _set(world, "runs", "run_1", state="finished", tasks=[])
    await world.mongo["workers"].update_many({}, {"$set": {"run": None, "status": "waiting"}})


async def _batch(world: World, made_ago_s: float) -> None:
    await world.mongo["workflows"].update_one(
        {"_id": "acme/tax"}, {"$set": {"account": "acme", "name": "tax"}}, upsert=True
    )
    batch = {"account": "acme", "workflow": "tax", "count": 3, "duplicates": 0, "rejected": 0}
    await world.mongo["batches"].insert_many(
        [
            {**batch, "_id": f"batch_{made_ago_s}", "created_at": ago(seconds=made_ago_s)},
            {**batch, "_id": f"batch_dup_{made_ago_s}", "created_at": ago(seconds=1), "duplicates": 3},
        ]
    )


async def _waiting(world: World) -> None:
    await world.publish("tax")
    await world.tasks(2, created_at=ago(seconds=100))


async def _gone(world: World) -> None:
    await world.mongo["tasks"].update_many(
        {"queue": {"$exists": True}}, {"$set": {"state": "cancelled", "finished_at": now()}, "$unset": {"queue": ""}}
    )


async def _failed(world: World, state: str = "failed", count: int = 10) -> None:
    await world.publish("tax")
    await world.tasks(count, state=state, finished_at=now(), queue=None)


async def _fine(world: World) -> None:
    await world.tasks(90, state="succeeded", finished_at=now(), queue=None)


async def _question(world: World) -> None:
    await world.mongo["decisions"].insert_one(
        {
            "_id": "run_1/00000003",
            "account": "acme",
            "workflow": "tax",
            "task": "task_1",
            "run": "run_1",
            "question": "Which of the two?",
            "asked_at": ago(seconds=60),
            "due_at": None,
            "state": "open",
            "woken": False,
        }
    )


async def _doubtful(world: World) -> None:
    hold = {"reason": "in_doubt", "text": "its submit was not answered", "at": ago(seconds=5), "run": "run_1", "seq": 3}
    await world.tasks(1, _id="task_1", state="held", hold=hold, queue=None)


async def _held(world: World, **fields: Any) -> None:
    circuit = {"account": "acme", "workflow": "tax", "state": "open", "reason": "failures", "text": "3 runs failed"}
    await world.mongo["circuits"].insert_one({"_id": "acme/tax", **circuit, "at": ago(seconds=5), **fields})


async def _dead(world: World) -> None:
    delivery = {"account": "acme", "endpoint": "erp", "state": "dead", "created_at": ago(seconds=5), "workflow": "tax"}
    await world.mongo["deliveries"].insert_many([{**delivery, "_id": f"d{n}"} for n in range(3)])


async def _endpoint(world: World, **fields: Any) -> None:
    endpoint = {"_id": "acme/erp", "account": "acme", "name": "erp", "enabled": True, "disabled_reason": None}
    await world.mongo["endpoints"].insert_one({**endpoint, **fields})


async def _source(world: World) -> None:
    source = {
        "_id": "acme/orders",
        "account": "acme",
        "name": "orders",
        "workflow": "tax",
        "enabled": True,
        "failures": 5,
    }
    down = {"since": ago(seconds=5), "reason": "status 503"}
    await world.mongo["sources"].insert_one(
        {**source, "down": down, "last_failure": {"at": now(), "reason": "status 503"}}
    )


OPEN = {"open": True, "failures": 10, "opened_at": ago(seconds=5), "reason": "status 500"}
QUARANTINE = {"until": now() + timedelta(hours=1), "times": 1, "reason": "3 runs failed", "at": ago(seconds=5)}
STILL = {"still_s": 30}
CASES = [
    Case(
        RuleKind.WORKFLOW_IDLE,
        "workflow/acme/tax",
        lambda w: _batch(w, 100),
        lambda w: _batch(w, 2),
        {"idle_s": 50},
        "got no new task for 1 min 40 s",
    ),
    Case(RuleKind.TASK_WAITING, "workflow/acme/tax", _waiting, _gone, STILL, "no robot is authorised"),
    Case(RuleKind.TASK_RUNNING, "task/task_1", _running, _ended, STILL, "runs for 1 min"),
    Case(RuleKind.FAILURE_RATE, "workflow/acme/tax", _failed, _fine, {}, "10 of the 10 newest tasks"),
    Case(RuleKind.RUN_STUCK, "run/run_1", _running, _ended, STILL, "no progress in executing for 1 min"),
    Case(
        RuleKind.ROBOT_LOST,
        "worker/00155d010001",
        lambda w: w.robot(1, connected=False),
        lambda w: _set(w, "workers", "00155d010001", connected=True),
        {},
        "robot 1 is not connected",
    ),
    Case(
        RuleKind.ROBOT_FROZEN,
        "worker/00155d010001",
        _running,
        lambda w: _set(w, "runs", "run_1", progressed_at=now()),
        STILL,
        "beats, but its run run_1",
    ),
    Case(
        RuleKind.ROBOT_QUARANTINED,
        "worker/00155d010001",
        lambda w: w.robot(1, quarantine=QUARANTINE),
        lambda w: _set(w, "workers", "00155d010001", quarantine=None),
        {},
        "3 runs failed",
    ),
    Case(
        RuleKind.DECISION_WAITING,
        "decision/run_1/00000003",
        _question,
        lambda w: _set(w, "decisions", "run_1/00000003", state="answered"),
        STILL,
        "Which of the two?",
    ),
    Case(
        RuleKind.TASK_IN_DOUBT,
        "task/task_1",
        _doubtful,
        lambda w: _set(w, "tasks", "task_1", state="succeeded", hold=None),
        {},
        "its submit was not answered",
    ),
    Case(
        RuleKind.WORKFLOW_HELD,
        "workflow/acme/tax",
        _held,
        lambda w: _set(w, "circuits", "acme/tax", state="closed"),
        {},
        "3 runs failed",
    ),
    Case(
        RuleKind.SCENARIO_HELD,
        "workflow/acme/tax/only",
        lambda w: _held(w, scenario="only"),
        lambda w: _set(w, "circuits", "acme/tax", state="closed"),
        {},
        "scenario only of workflow acme/tax is held",
    ),
    Case(
        RuleKind.DELIVERY_DEAD,
        "endpoint/acme/erp",
        _dead,
        lambda w: w.mongo["deliveries"].update_many({}, {"$set": {"state": "retrying"}}),
        {},
        "3 deliveries to endpoint acme/erp were given up",
    ),
    Case(
        RuleKind.ENDPOINT_DOWN,
        "endpoint/acme/erp",
        lambda w: _endpoint(w, circuit=OPEN),
        lambda w: _set(w, "endpoints", "acme/erp", circuit={"open": False}),
        {},
        "status 500",
    ),
    Case(
        RuleKind.ENDPOINT_DISABLED,
        "endpoint/acme/erp",
        lambda w: _endpoint(w, enabled=False, disabled_reason="it answered 410"),
        lambda w: _set(w, "endpoints", "acme/erp", enabled=True, disabled_reason=None),
        {},
        "it answered 410",
    ),
    Case(
        RuleKind.POLLER_FAILING,
        "source/acme/orders",
        _source,
        lambda w: _set(w, "sources", "acme/orders", down=None),
        {},
        "status 503",
    ),
]


def test_every_kind_has_a_case() -> None:
    elsewhere = {RuleKind.DEADLINE_DANGER, *EVENT_KINDS, *INSTALLATION_KINDS}
    assert {case.kind for case in CASES} | elsewhere == set(RuleKind)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind.value)
async def test_a_rule_fires_and_resolves(alerts: Alerts, case: Case) -> None:
    await alerts.rule(case.kind, **case.params)
    await alerts.run()
    assert await alerts.all() == [], "nothing is wrong yet"
    await case.wrong(alerts.world)
    await alerts.run()
    alert = await alerts.only("firing")
    assert (alert["kind"], alert["target"]) == (case.kind, case.target)
    assert case.says in alert["text"], alert["text"]
    assert alert["notify"]["to"] == "notify"
    assert alert["account"] == (
        None if case.target.startswith("worker/") and case.kind is not RuleKind.ROBOT_FROZEN else "acme"
    )
    await alerts.run()
    assert (await alerts.only("firing"))["changes"] == 1, "a second pass says nothing new"
    await case.right(alerts.world)
    await alerts.run()
    assert (await alerts.only("resolved"))["resolved_why"] == "over"
    assert "open" not in await alerts.only("resolved")


async def test_a_deadline_in_danger(alerts: Alerts) -> None:
    """By what the scheduler measured a task takes two minutes; one is due in half a minute, then in half an hour."""
    await alerts.rule(RuleKind.DEADLINE_DANGER, within_s=3600, margin_s=60)
    world = alerts.world
    await world.publish("tax")
    await world.robot(1)
    await world.mongo["paces"].insert_one({"_id": "acme/tax", "task_s": 120.0, "overhead_s": 10.0})
    (task,) = await world.tasks(1, deadline=now() + timedelta(seconds=30))
    await alerts.run()
    alert = await alerts.only("firing")
    assert alert["target"] == "workflow/acme/tax"
    assert alert["facts"]["task"] == task
    assert "will probably miss the deadline" in alert["text"]
    await _set(world, "tasks", task, deadline=now() + timedelta(seconds=1800))
    await alerts.run()
    assert (await alerts.only("resolved"))["resolved_why"] == "over"


async def test_a_limit_is_nearly_and_then_wholly_used_up(alerts: Alerts) -> None:
    """The scheduler itself opens runs until the limit is reached."""
    world = alerts.world
    await alerts.store.mongo["rules"].update_many(
        {"kind": {"$nin": ["limit_warning", "limit_reached"]}}, {"$set": {"enabled": False}}
    )
    await world.publish("tax", max_tasks=1, settings={"limits": [{"per": "hour", "max": 2, "warn_at": 50}]})
    await world.scheduler()
    for n in range(2):
        await world.robot(n)
    await world.tasks(2)
    await until(lambda: world.events("limit_reached"))
    await until(lambda: world.events("limit_warning"))
    await alerts.run()
    warned, reached = sorted(await alerts.all(), key=lambda alert: alert["kind"], reverse=True)
    assert [warned["kind"], reached["kind"]] == ["limit_warning", "limit_reached"]
    assert {warned["state"], reached["state"]} == {"firing"}
    assert warned["until"] == reached["until"] > now(), "the end of the hour"
    await alerts.run()
    assert {alert["state"] for alert in await alerts.all()} == {"firing"}, "it stays so until then"
    await alerts.evaluation.run(warned["until"] - timedelta(seconds=1))
    assert {alert["state"] for alert in await alerts.all()} == {"firing"}, "a second before its end as well"
    await alerts.evaluation.run(warned["until"] + timedelta(seconds=1))
    assert {(alert["state"], alert["resolved_why"]) for alert in await alerts.all()} == {("resolved", "over")}
    assert await world.mongo["events"].count_documents({"pending": {"$ne": None}}) == 0


async def test_an_unauthorised_attempt(alerts: Alerts) -> None:
    """The scheduler doubts a robot, twice for another reason: one alert that counts, over after its time."""
    world = alerts.world
    await alerts.rule(RuleKind.UNAUTHORISED_ATTEMPT, keep_s=1.5)
    scheduler = await world.scheduler()
    robot = await world.robot(1)
    await scheduler.robots.doubt(robot, "it came with another key")
    await alerts.handlers.sweep_events()
    alert = await alerts.only("firing")
    assert (alert["target"], alert["count"]) == (f"worker/{robot}", 1)
    assert "it came with another key" in alert["text"]
    await scheduler.robots.doubt(robot, "its journal was replaced")
    await alerts.handlers.sweep_events()
    alert = await alerts.only("firing")
    assert (alert["count"], alert["changes"]) == (2, 2)

    async def over() -> bool:
        await alerts.evaluation.run()
        return (await alerts.all())[0]["state"] == "resolved"

    await until(over)


async def test_a_person_holds_and_releases_a_workflow(alerts: Alerts) -> None:
    """Through the scheduler; told only where the rule asks for it."""
    world = alerts.world
    await world.publish("tax")
    await world.scheduler()
    await alerts.rule(RuleKind.WORKFLOW_HELD)
    assert (await world.ask("workflow.hold", "acme/tax", text="the portal moves", mode="pause"))["state"] == "done"
    await alerts.run()
    assert await alerts.all() == []
    await alerts.rule(RuleKind.WORKFLOW_HELD, by_person=True)
    await alerts.run()
    assert "the portal moves" in (await alerts.only("firing"))["text"]
    assert (await world.ask("workflow.release", "acme/tax"))["state"] == "done"
    await alerts.run()
    await alerts.only("resolved")


async def test_a_stalled_run_that_the_scheduler_ended_is_a_frozen_robot(alerts: Alerts) -> None:
    event = event_document(
        EventKind.RUN_STALLED,
        id="stalled/run_1/1",
        at=now(),
        service="scheduler",
        severity=Severity.ERROR,
        target="run_1",
        account="acme",
        text="run run_1: no progress",
        facts={"worker": "00155d010001", "workflow": "tax"},
    )
    await raise_event(alerts.world.mongo, event)
    await alerts.rule(RuleKind.ROBOT_FROZEN, still_s=300, keep_s=60)
    await alerts.run()
    alert = await alerts.only("firing")
    assert (alert["target"], alert["facts"]["run"], alert["account"]) == ("worker/00155d010001", "run_1", "acme")


def test_every_kind_that_the_database_answers_is_read(alerts: Alerts) -> None:
    read = set(RuleKind) - EVENT_KINDS - INSTALLATION_KINDS | {RuleKind.CANARY_FAILING}
    assert set(database_reads(alerts.world.mongo)) == read
