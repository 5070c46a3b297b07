"""What rules make of observations, which rules cover what, and what events become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.core.events import happened
from services.alerts.core.findings import Observation, Observed, covers
from services.alerts.core.judging import duration, judge
from services.alerts.core.unstored import UnstoredAlerts
from services.alerts.reads.servers import _members, _node
from shared.domain.alert_rules import DEFAULTS, BadRule, Rule, RuleKind, parse_rule, rule_document
from shared.domain.events import EventKind, Severity, event_document

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)


def rules(kind: RuleKind, **params: Any) -> dict[str, Rule]:
    default = next(one for one in DEFAULTS if one.kind is kind)
    document = {**rule_document(default, at=NOW, by="test"), "params": params}
    return {kind.value: parse_rule(document)}


def found(kind: RuleKind, one: Observation, now: datetime = NOW, **params: Any) -> list[str]:
    return [finding.text for finding in judge(rules(kind, **params), {kind: Observed([one])}, now)]


@given(st.lists(st.tuples(st.integers(0, 7200), st.booleans()), max_size=60), st.integers(1, 50), st.integers(1, 50))
def test_the_failure_rate_is_the_obvious_one(ended: list[tuple[int, bool]], sample: int, minimum: int) -> None:
    newest = sorted(ended, key=lambda one: one[0])
    measured = [(NOW - timedelta(seconds=age), failed) for age, failed in newest]
    one = Observation("t", "w", measures={"ended": measured})
    said = found(RuleKind.FAILURE_RATE, one, window_s=3600, sample=sample, min_tasks=minimum, percent=50)
    counted = [failed for age, failed in newest if age <= 3600][:sample]
    assert bool(said) == (len(counted) >= minimum and counted.count(True) / len(counted) >= 0.5)


@pytest.mark.parametrize(("age_s", "fires"), [(9, False), (10, True), (99, True), (100, False)])
def test_an_idle_workflow_is_watched_until_it_is_forgotten(age_s: int, fires: bool) -> None:
    one = Observation("t", "w got no new task", since=NOW - timedelta(seconds=age_s))
    assert bool(found(RuleKind.WORKFLOW_IDLE, one, idle_s=10, forget_s=100)) is fires


def test_deadlines_in_danger() -> None:
    due = NOW + timedelta(minutes=10)
    tasks = [
        ("kept", due, due - timedelta(minutes=5), True),
        ("close", due, due - timedelta(seconds=30), True),
        ("missed", due, due + timedelta(minutes=1), False),
        ("nobody knows", due, None, None),
        ("far", NOW + timedelta(days=2), None, False),
    ]
    one = Observation("t", "workflow w", measures={"tasks": tasks})
    (finding,) = judge(rules(RuleKind.DEADLINE_DANGER, margin_s=60), {RuleKind.DEADLINE_DANGER: Observed([one])}, NOW)
    assert finding.facts["tasks"] == ["close", "missed"]
    assert found(RuleKind.DEADLINE_DANGER, Observation("t", "w", measures={"tasks": tasks[:1]})) == []


def test_queues_deep_or_with_dead_letters() -> None:
    one = Observation("t", "queue q", measures={"messages": 5, "dead": 1})
    assert found(RuleKind.QUEUE_DEEP, one, depth=5, dead=2) == ["5 messages wait in queue q"]
    assert found(RuleKind.QUEUE_DEEP, one, depth=6, dead=1) == ["1 dead letters of queue q wait for a person"]
    assert found(RuleKind.QUEUE_DEEP, one, depth=6, dead=2) == []


def member(name: str, state: str, lag_s: float = 0.0, health: int = 1) -> dict[str, Any]:
    return {"name": name, "stateStr": state, "health": health, "optimeDate": NOW - timedelta(seconds=lag_s)}


def test_members_that_lag_or_are_away() -> None:
    """As replSetGetStatus has them (MongoDB's manual, replSetGetStatus, `members`)."""
    troubles, lags = _members([member("a", "PRIMARY"), member("b", "SECONDARY", 30), member("c", "SECONDARY")])
    assert (troubles, lags) == ([], {"b": 30.0, "c": 0.0})
    one = Observation("database", "the database is not well", measures={"troubles": troubles, "lags": lags})
    assert found(RuleKind.DATABASE_UNHEALTHY, one, lag_s=10) == ["the database is not well: b is 30 s behind"]
    assert found(RuleKind.DATABASE_UNHEALTHY, one, lag_s=30) == []
    troubles, _ = _members([member("a", "PRIMARY"), member("b", "(not reachable/healthy)", health=0)])
    assert troubles == ["member b is not reachable"]
    troubles, _ = _members([member("a", "PRIMARY"), member("b", "PRIMARY")])
    assert troubles == ["two members say that they are primary: a, b"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, []),
        ({"running": False}, ["node a is down"]),
        ({"mem_alarm": True}, ["node a raises its memory alarm: publishers are blocked"]),
        ({"disk_free_alarm": True}, ["node a raises its disk alarm: publishers are blocked"]),
        ({"partitions": ["b"]}, ["node a lost b"]),
    ],
)
def test_nodes_of_the_broker(fields: dict[str, Any], says: list[str]) -> None:
    """As the management API has them (GET /api/nodes)."""
    node = {"name": "a", "running": True, "mem_alarm": False, "disk_free_alarm": False, "partitions": []}
    assert _node({**node, **fields}) == says


def test_an_accounts_own_rule_takes_the_place_of_the_installations() -> None:
    general = rules(RuleKind.WORKFLOW_HELD)["workflow_held"]
    own = parse_rule(
        {**rule_document(general, at=NOW, by="x"), "_id": "acme/workflow_held", "account": "acme", "enabled": False}
    )
    both = {general.id: general, own.id: own}
    assert not covers(general, both, "acme", {})
    assert covers(general, both, "other", {})
    assert covers(own, both, "acme", {})
    assert not covers(own, both, "other", {})


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ({}, True),
        ({"workflow": "tax*"}, True),
        ({"workflow": "land"}, False),
        ({"account": "ac??"}, True),
        ({"worker": "*"}, False),
    ],
)
def test_where_a_rule_looks(where: dict[str, str], fits: bool) -> None:
    document = {**rule_document(rules(RuleKind.TASK_IN_DOUBT)["task_in_doubt"], at=NOW, by="x"), "where": where}
    rule = parse_rule(document)
    assert covers(rule, {rule.id: rule}, "acme", {"workflow": "tax-certificate"}) is fits


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"params": {"still_s": -1}}, "still_s"),
        ({"params": {"still": 1}}, "still"),
        ({"kind": "nothing"}, "kind"),
        ({"_id": "Robot"}, "_id"),
        ({"_id": "acme/x", "account": "other"}, "rule"),
        ({"severity": "bad"}, "severity"),
        ({"where": {"planet": "x"}}, "where.planet"),
        ({"repeat_s": 1}, "repeat_s"),
        ({"kind": "limit_reached", "params": {}, "for_s": 5}, "rule"),
        ({"kind": "database_unhealthy", "_id": "acme/x", "account": "acme", "params": {}}, "rule"),
    ],
)
def test_what_is_no_rule_is_refused_with_its_place(change: dict[str, Any], path: str) -> None:
    good = rule_document(rules(RuleKind.TASK_RUNNING)["task_running"], at=NOW, by="x")
    assert parse_rule(good)
    with pytest.raises(BadRule) as caught:
        parse_rule({**good, **change})
    assert path in str(caught.value)


def event(n: int, kind: EventKind = EventKind.UNAUTHORISED_ATTEMPT, **facts: Any) -> dict[str, Any]:
    return event_document(
        kind, id=f"e{n}", at=NOW + timedelta(seconds=n), service="s", severity=Severity.ERROR, target="w", text=f"t{n}",
        account="acme", facts={"worker": "w", **facts},
    )  # fmt: skip


@given(st.permutations(range(5)), st.integers(1, 4))
def test_events_of_one_target_are_one_alert_however_they_come(order: list[int], parts: int) -> None:
    known = rules(RuleKind.UNAUTHORISED_ATTEMPT, keep_s=60)
    ids: set[str] = set()
    for start in range(0, 5, parts):
        for one in happened([event(n) for n in order[start : start + parts]], known):
            assert one.until >= NOW + timedelta(seconds=60)
            ids |= set(one.ids)
    assert ids == {f"e{n}" for n in range(5)}


def test_an_events_end_is_its_own_where_it_has_one() -> None:
    until = NOW + timedelta(hours=3)
    (one,) = happened([event(1, EventKind.LIMIT_REACHED, counter="c", until=until)], rules(RuleKind.LIMIT_REACHED))
    assert (one.until, one.finding.target) == (until, "limit/c")


def test_what_can_not_be_stored_is_told_when_due_and_again_after_its_time() -> None:
    known = rules(RuleKind.DATABASE_UNHEALTHY)
    one = Observation("database", "x", since=NOW, measures={"troubles": ["no primary"]})
    (finding,) = judge(known, {RuleKind.DATABASE_UNHEALTHY: Observed([one])}, NOW)
    held, rule = UnstoredAlerts(), finding.rule
    assert held.look([finding], NOW) == []
    due = NOW + timedelta(seconds=rule.for_s)
    assert len(held.look([finding], due)) == 1
    assert len(held.look([finding], due)) == 1, "nobody was told: again"
    held.told(finding.key, due)
    assert held.look([finding], due) == []
    (again,) = held.look([finding], due + timedelta(seconds=rule.repeat_s))
    assert again.times == 1
    (over,) = held.stored_again(due)
    assert over.resolved_at == due
    held.gone(set())
    assert held.held, "who was told is told that it is over"
    held.forget(finding.key)
    assert len(held.look([finding], due)) == 1
    held.gone(set())
    assert held.look([], due) == [], "nobody was told, and it is gone"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7500, "2 h 5 min"), (90061, "1 d 1 h")]
)
def test_durations(seconds: int, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said
