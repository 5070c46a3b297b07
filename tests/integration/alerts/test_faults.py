"""Killed between any two writes, or done by two at once: no alert is lost, none is there twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.alerts.core.evaluate import Begin, Resolve, Standing, Why
from services.alerts.evaluation import Ask, Evaluation
from services.alerts.handlers import Handlers
from services.alerts.reads.table import database_reads
from services.alerts.store import AlertStore
from shared.domain.alert_rules import RuleKind
from shared.domain.alert_state import AlertState
from shared.domain.events import EventKind, Severity, event_document
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.events import raise_event
from shared.obs.clock import now
from shared.runtime.commands import issue
from tests.integration.alerts.conftest import Alerts
from tests.integration.scheduler.conftest import World, ago


class Killed(BaseException):
    """The process dies here."""


class Dying:
    """A database handle whose process dies before, or just after, its nth write."""

    def __init__(self, mongo: Mongo, at: int, *, after: bool) -> None:
        self._mongo, self._left, self._after = mongo, at, after

    def __getitem__(self, name: str) -> Any:
        return _Collection(self._mongo[name], self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mongo, name)

    async def write(self, call: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        done = await call()
        if self._left == 0:
            raise Killed
        return done


class _Collection:
    def __init__(self, real: Any, dying: Dying) -> None:
        self._real, self._dying = real, dying

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name.startswith(("insert", "update", "find_one_and", "delete")):
            return lambda *args, **more: self._dying.write(lambda: real(*args, **more))
        return real


def parts(mongo: Any) -> tuple[Handlers, Evaluation]:
    store = AlertStore(mongo)
    nothing = lambda: None  # noqa: E731
    return Handlers(store, changed=nothing), Evaluation(store, database_reads(mongo), changed=nothing)


async def attempt(world: World, robot: str, n: int) -> None:
    event = event_document(
        EventKind.UNAUTHORISED_ATTEMPT, id=f"doubt/{robot}/{n}", at=now(), service="scheduler",
        severity=Severity.ERROR, target=robot, text=f"attempt {n}", facts={"worker": robot},
    )  # fmt: skip
    await raise_event(world.mongo, event)


async def scene(world: World) -> None:
    """Two events of one robot, one of another; one robot that is lost; one alert that is to fire, one that is over."""
    for robot, n in (("w1", 1), ("w1", 2), ("w2", 3)):
        await attempt(world, robot, n)
    await world.robot(1, connected=False)
    await world.robot(2, connected=True)
    await world.mongo["rules"].update_one({"_id": "robot_lost"}, {"$set": {"for_s": 0.0}})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_write(alerts: Alerts, after: bool) -> None:
    world = alerts.world
    for at in range(1, 9):
        for name in ("alerts", "events", "workers"):
            await world.mongo[name].delete_many({})
        await scene(world)
        handlers, evaluation = parts(Dying(world.mongo, at, after=after))
        try:
            await handlers.sweep_events()
            await evaluation.run()
        except Killed:
            pass
        else:
            assert at > 4, "it died where it was to"
        handlers, evaluation = parts(world.mongo)
        await handlers.sweep_events()
        await evaluation.run()
        found = await alerts.all()
        by_target = {alert["target"]: alert for alert in found}
        assert len(by_target) == len(found) == 3
        assert [by_target[f"worker/{one}"]["count"] for one in ("w1", "w2")] == [2, 1]
        assert all(alert["state"] == "firing" and alert["notify"] for alert in found)
        assert await world.mongo["events"].count_documents({"pending": {"$ne": None}}) == 0
    assert at == 8


async def test_two_evaluators_at_once(alerts: Alerts) -> None:
    world = alerts.world
    await scene(world)
    pairs = [parts(world.mongo) for _ in range(3)]
    await asyncio.gather(*(handlers.sweep_events() for handlers, _ in pairs))
    await asyncio.gather(*(evaluation.run() for _, evaluation in pairs))
    found = await alerts.all()
    assert sorted((alert["target"], alert["count"]) for alert in found) == [
        ("worker/00155d010001", 1), ("worker/w1", 2), ("worker/w2", 1),
    ]  # fmt: skip
    await world.mongo["workers"].update_many({}, {"$set": {"connected": True}})
    await asyncio.gather(*(evaluation.run() for _, evaluation in pairs))
    (lost,) = await alerts.all(kind="robot_lost")
    assert (lost["state"], lost["changes"]) == ("resolved", 2)


async def test_pending_then_firing_then_over_and_again(alerts: Alerts) -> None:
    """Not told before its time; what was over and comes back is another alert, also with the same beginning."""
    world = alerts.world
    await alerts.rule(RuleKind.WORKFLOW_HELD, for_s=3600)
    circuit = {
        "_id": "acme/tax",
        "account": "acme",
        "workflow": "tax",
        "state": "open",
        "reason": "failures",
        "text": "x",
    }
    await world.mongo["circuits"].insert_one({**circuit, "at": ago(seconds=5)})
    await alerts.run()
    assert (await alerts.only("pending"))["notify"] is None
    await alerts.rule(RuleKind.WORKFLOW_HELD, for_s=1)
    await alerts.run()
    assert (await alerts.only("firing"))["notify"]["to"] == "notify"
    await world.mongo["rules"].update_many({}, {"$set": {"enabled": False}})
    await alerts.run()
    assert (await alerts.only("resolved"))["resolved_why"] == "rule"
    await alerts.rule(RuleKind.WORKFLOW_HELD, for_s=1)
    await alerts.run()
    assert sorted(alert["state"] for alert in await alerts.all()) == ["firing", "resolved"]


async def test_what_can_not_be_read_is_not_over(alerts: Alerts) -> None:
    world = alerts.world
    await alerts.rule(RuleKind.ROBOT_LOST)
    await world.robot(1, connected=False)
    await alerts.run()

    async def away(ask: Ask) -> Any:
        raise TemporaryError("away")

    blind = Evaluation(alerts.store, {RuleKind.ROBOT_LOST: away}, changed=lambda: None)
    assert await blind.run() == []
    await alerts.only("firing")


async def test_an_event_that_comes_while_its_alert_ends(alerts: Alerts) -> None:
    """The alert's end expects the time that was read: a new event has moved it, so it goes on."""
    world = alerts.world
    await alerts.rule(RuleKind.UNAUTHORISED_ATTEMPT, keep_s=3600)
    await attempt(world, "w1", 1)
    await alerts.handlers.sweep_events()
    (read,) = await alerts.store.standing()
    await attempt(world, "w1", 2)
    await alerts.handlers.sweep_events()
    assert not await alerts.store.apply(Resolve(read, Why.OVER), now() + timedelta(hours=2))
    assert (await alerts.only("firing"))["count"] == 2


async def test_acknowledged_and_not_again(alerts: Alerts) -> None:
    world = alerts.world
    await alerts.rule(RuleKind.ROBOT_LOST)
    await world.robot(1, connected=False)
    await alerts.run()
    id = (await alerts.only("firing"))["_id"]

    async def ask(kind: str, alert: str) -> dict[str, Any]:
        args = {"alert": alert, "note": "on my way"}
        command = await issue(world.mongo, world.broker, kind=kind, to="alerts", target=alert, args=args, by="ana")
        found = await world.mongo["commands"].find_one({"_id": command}) or {}
        await alerts.handlers.run_command(found)
        return await world.mongo["commands"].find_one({"_id": command}) or {}

    assert (await ask("alert.ack", id))["state"] == "done"
    acked = (await alerts.only("firing"))["acked"]
    assert (acked["by"], acked["note"]) == ("ana", "on my way")
    assert (await ask("alert.unack", id))["state"] == "done"
    assert (await alerts.only("firing"))["acked"] is None
    assert (await ask("alert.ack", "alert_x"))["reason"] == "there is no alert alert_x"
    await world.mongo["workers"].update_many({}, {"$set": {"connected": True}})
    await alerts.run()
    assert (await ask("alert.ack", id))["reason"] == "the alert is resolved, not firing"
    assert (await ask("alert.sing", id))["state"] == "refused"


async def test_a_begin_that_another_was_first_with(alerts: Alerts) -> None:
    world = alerts.world
    await alerts.rule(RuleKind.ROBOT_LOST)
    await world.robot(1, connected=False)
    (done,) = await alerts.run()
    assert isinstance(done, Begin)
    assert not await alerts.store.apply(done, now())
    stale = Standing(
        (await alerts.only("firing"))["_id"], "robot_lost", "worker/x", RuleKind.ROBOT_LOST, AlertState.PENDING, now(),
        done.finding.rule.severity, "x",
    )  # fmt: skip
    assert not await alerts.store.apply(Resolve(stale, Why.OVER), now()), "it expects the state that was read"


async def test_a_storm_of_attempts_is_counted_whole(alerts: Alerts) -> None:
    """Thousands of events of a few robots: an alert each, every event counted, in sweeps of a bounded size."""
    world = alerts.world
    events = [
        event_document(
            EventKind.UNAUTHORISED_ATTEMPT, id=f"storm/{n}", at=ago(seconds=60), service="scheduler",
            severity=Severity.ERROR, target=f"w{n % 50}", text="attempt", facts={"worker": f"w{n % 50}"},
        )
        for n in range(3000)
    ]  # fmt: skip
    await world.mongo["events"].insert_many(events)
    for left in (2500, 2000, 1500, 1000, 500, 0):
        await asyncio.gather(alerts.handlers.sweep_events(), alerts.handlers.sweep_events())
        assert await world.mongo["events"].count_documents({"pending.to": "alerts"}) <= left
    found = await alerts.all()
    assert [alert["count"] for alert in found] == [60] * 50
