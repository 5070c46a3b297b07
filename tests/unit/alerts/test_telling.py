"""Who is told what of an alert, what follows from what, and how what is told is gathered: by slow, obvious models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.core.attempts import WAIT_S_MAX, after_attempt
from services.alerts.core.bundles import contents, due_at, free_at, group_of
from services.alerts.core.inhibition import GRACE, Source, Sources
from services.alerts.core.telling import HELD_LOOK_S, MORE_S, Held, Lane, Rules, What, item_of, plan
from shared.domain.alert_rules import RuleKind
from shared.domain.notification_state import NotificationState
from shared.domain.recipients import Rate, Recipient, parse_recipient

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
RULE = Rules("A robot is lost", 3600.0)
SETTINGS = st.floats(min_value=0, max_value=7200)


def somebody(name: str = "ops", **fields: Any) -> Recipient:
    channel = {"id": "mail-0123456789ab", "kind": "mail", "address": "ann@acme.example"}
    return parse_recipient({"_id": f"*/{name}", "channels": [channel], **fields})


def lane(name: str = "ops", **fields: Any) -> Lane:
    recipient = somebody(name, **fields)
    return Lane(recipient, recipient.channels[0])


def alert(**fields: Any) -> dict[str, Any]:
    return {
        "_id": "alert_1", "rule": "robot_lost", "kind": "robot_lost", "target": "worker/w1", "account": None,
        "severity": "error", "text": "robot w1 is not connected", "facts": {"worker": "w1"}, "state": "firing",
        "since": NOW - timedelta(minutes=5), "resolved_at": None, "count": 1, "acked": None, "changes": 1,
        "notify": {"to": "notify", "since": NOW, "due_at": NOW}, **fields,
    }  # fmt: skip


def later(found: Mapping[str, Any] | None) -> Mapping[str, Any]:
    assert found is not None
    return found


def test_the_first_time_then_again_then_over() -> None:
    one = lane()
    first = plan(alert(), [one], set(), None, RULE, NOW)
    assert first.items[one.id]["what"] == What.FIRING
    marker = later(first.marker)
    assert marker["due_at"] == NOW + timedelta(hours=1)
    due = NOW + timedelta(hours=1)
    again = plan(alert(notify=marker), [one], {one.id}, None, RULE, due)
    assert again.items[one.id]["what"] == What.REPEAT
    assert again.items[one.id]["id"] != first.items[one.id]["id"]
    over = alert(state="resolved", changes=2, resolved_at=due)
    last = plan(over, [one], {one.id}, None, RULE, due)
    assert (last.items[one.id]["what"], last.marker) == (What.RESOLVED, None)


def test_planned_twice_it_is_the_same_item() -> None:
    """Killed between gathering and marking: what was gathered is known again."""
    one = lane()
    first, again = (plan(alert(), [one], told, None, RULE, NOW) for told in (set[str](), {one.id}))
    assert first.items[one.id]["id"] == again.items[one.id]["id"]


def test_nobody_is_told_that_it_is_over_who_was_not_told_that_it_was_wrong() -> None:
    told, other = lane("ops"), lane("night")
    over = alert(state="resolved", changes=2)
    assert set(plan(over, [told, other], {told.id}, None, RULE, NOW).items) == {told.id}
    unstored = alert(state="resolved", facts={"unstored": True})
    assert set(plan(unstored, [told, other], set(), None, RULE, NOW).items) == {told.id, other.id}


def test_acknowledged_it_is_quiet_until_it_is_over() -> None:
    one = lane()
    assert plan(alert(acked={"by": "ann"}), [one], {one.id}, None, RULE, NOW) == plan(
        alert(state="pending"), [one], set(), None, RULE, NOW
    )
    over = alert(state="resolved", acked={"by": "ann"}, changes=3)
    assert plan(over, [one], {one.id}, None, RULE, NOW).items


@pytest.mark.parametrize("reason", ["silence", "alert alert_0"])
def test_held_back_it_is_looked_at_again_and_then_told(reason: str) -> None:
    one = lane()
    held = plan(alert(), [one], set(), Held(reason, NOW + timedelta(seconds=5)), RULE, NOW)
    assert held.items == {}
    marker = later(held.marker)
    assert (marker["due_at"], marker["held"]) == (NOW + timedelta(seconds=5), reason)
    assert plan(alert(notify=marker), [one], set(), None, RULE, NOW).items[one.id]["what"] == What.FIRING
    open_ended = later(plan(alert(), [one], set(), Held(reason), RULE, NOW).marker)
    assert open_ended["due_at"] == NOW + timedelta(seconds=HELD_LOOK_S)


def test_outside_hours_it_waits_for_them_and_then_is_told_as_new() -> None:
    hours = {"timezone": "UTC", "windows": [{"days": ["mon"], "start": "08:00", "end": "18:00"}]}
    one = lane(hours=hours)
    waiting = plan(alert(), [one], set(), None, RULE, NOW)
    assert waiting.items == {}
    opened = datetime(2027, 2, 1, 8, tzinfo=UTC)
    assert later(waiting.marker)["due_at"] <= opened
    told = plan(alert(notify=waiting.marker), [one], set(), None, RULE, opened)
    assert told.items[one.id]["what"] == What.FIRING
    assert plan(alert(severity="critical"), [one], set(), None, RULE, NOW).items


def test_a_recipient_who_is_new_is_told_of_what_others_were_told_of() -> None:
    old, new = lane("ops"), lane("new")
    marker = plan(alert(), [old], set(), None, RULE, NOW).marker
    soon = NOW + timedelta(minutes=1)
    found = plan(alert(notify=marker), [old, new], {old.id}, None, RULE, soon)
    assert set(found.items) == {new.id}
    assert {one["lane"] for one in later(found.marker)["lanes"]} == {old.id, new.id}


def test_a_recipients_own_repeat_counts_and_nobody_is_looked_for_again() -> None:
    assert later(plan(alert(), [lane(repeat_s=60)], set(), None, RULE, NOW).marker)["due_at"] == NOW + timedelta(
        minutes=1
    )
    nobody = plan(alert(), [], set(), None, RULE, NOW)
    assert nobody.items == {}
    assert later(nobody.marker)["held"] == "nobody"


STEPS = st.lists(st.tuples(st.sampled_from(["more", "ack", "unack", "look", "kill"]), SETTINGS), max_size=12)


@given(STEPS, st.booleans())
def test_whatever_happens_nobody_is_left_believing_that_it_is_wrong(steps: list[tuple[str, float]], ends: bool) -> None:
    """By a model of the store: items are gathered once, a marker is left. Who was told that it is wrong is told when it
    is over; and while it is wrong and nobody takes care, somebody was told."""
    one, at, now_is = lane(), alert(), NOW
    given: dict[str, str] = {}

    def look(*, killed: bool = False) -> None:
        marker = at["notify"]
        if marker is None or marker["due_at"] > now_is:
            return
        made = plan(at, [one], {one.id} if given else set(), None, RULE, now_is)
        for item in made.items.values():
            given.setdefault(item["id"], item["what"])
        if not killed:
            at["notify"] = made.marker

    def change(**fields: Any) -> None:
        at.update(fields, changes=at["changes"] + 1, notify={"to": "notify", "since": now_is, "due_at": now_is})

    for what, wait_s in steps:
        now_is += timedelta(seconds=wait_s)
        match what:
            case "more":
                change(count=at["count"] + 1)
            case "ack":
                at.update(acked={"by": "ann"}, changes=at["changes"] + 1)
            case "unack":
                change(acked=None)
            case "kill":
                look(killed=True)
            case "look":
                look()
    now_is += timedelta(seconds=1)
    look()
    if at["acked"] is None:
        assert What.FIRING in given.values()
    if ends:
        change(state="resolved", resolved_at=now_is)
        look()
        assert (What.RESOLVED in given.values()) == bool(set(given.values()) - {What.RESOLVED})
        assert at["notify"] is None


# what follows from what


def follows(kind: str, target: str = "worker/w1", **facts: Any) -> dict[str, Any]:
    return {"_id": "alert_x", "kind": kind, "target": target, "facts": facts}


@pytest.mark.parametrize(
    ("source", "alert", "held"),
    [
        (("broker_unhealthy", "broker"), follows("robot_lost"), True),
        (("database_unhealthy", "database"), follows("service_down", "service/executor"), True),
        (("broker_unhealthy", "broker"), follows("database_unhealthy", "database"), False),
        (("broker_unhealthy", "broker"), follows("task_in_doubt", "task/t"), False),
        (("broker_unhealthy", "broker"), follows("unauthorised_attempt"), False),
        (("service_down", "service/scheduler"), follows("robot_lost"), True),
        (("service_down", "service/scheduler/scheduler-1"), follows("robot_lost"), False),
        (("service_down", "service/delivery"), follows("robot_lost"), False),
        (("robot_lost", "worker/w1"), follows("task_running", "task/t", worker="w1"), True),
        (("robot_lost", "worker/w1"), follows("task_running", "task/t", worker="w2"), False),
        (("robot_frozen", "worker/w1"), follows("robot_lost", worker="w1"), False),
    ],
)
def test_what_follows_from_another_is_held_back(source: tuple[str, str], alert: dict[str, Any], held: bool) -> None:
    kind, target = source
    sources = Sources([Source("alert_0", RuleKind(kind), target)], NOW)
    assert sources.holding(alert) == ("alert_0" if held else None)


def test_a_source_that_is_over_holds_back_for_a_moment() -> None:
    for over_s, held in ((1, True), (GRACE.total_seconds() + 1, False)):
        resolved_at = NOW - timedelta(seconds=over_s)
        sources = Sources([Source("alert_0", RuleKind.BROKER_UNHEALTHY, "broker", resolved_at)], NOW)
        assert (sources.holding(follows("robot_lost")) is not None) is held


KINDS = st.sampled_from(sorted(RuleKind))


@given(st.lists(st.tuples(KINDS, st.sampled_from(["broker", "worker/w1", "service/scheduler"])), max_size=8))
def test_somebody_is_always_told_something(found: list[tuple[RuleKind, str]]) -> None:
    """Of alerts that hold each other back, never all are held back: broker and database stand above the rest, a service
    above robots, a robot above its runs."""
    alerts = [
        {"_id": f"a{n}", "kind": kind.value, "target": target, "facts": {"worker": "w1"}}
        for n, (kind, target) in enumerate(found)
    ]
    sources = Sources([Source(one["_id"], RuleKind(one["kind"]), one["target"]) for one in alerts], NOW)
    assert not alerts or any(sources.holding(one) is None for one in alerts)


# gathering


def items_of(*alerts: dict[str, Any], what: What = What.FIRING) -> list[dict[str, Any]]:
    return [item_of(one, RULE.title, what, 0, NOW) for one in alerts]


def test_the_first_of_a_group_waits_for_others_what_follows_for_its_interval() -> None:
    ops = somebody(group_wait_s=10, group_interval_s=300)
    (item,) = items_of(alert())
    assert due_at(item, ops, {}, NOW) == NOW + timedelta(seconds=10)
    assert due_at(item, ops, {group_of(item): NOW}, NOW) == NOW + timedelta(seconds=300)
    assert due_at(item, ops, {"acme|robot_lost": NOW}, NOW) == NOW + timedelta(seconds=10)
    assert due_at(item, ops, {group_of(item): NOW - timedelta(hours=1)}, NOW) == NOW + timedelta(seconds=10)
    (more,) = items_of(alert(), what=What.MORE)
    assert due_at(more, ops, {}, NOW) == NOW + timedelta(seconds=MORE_S)


@given(
    st.lists(st.floats(min_value=0, max_value=5000), max_size=60),
    st.integers(min_value=1, max_value=5),
    st.floats(min_value=1, max_value=1000),
)
def test_no_window_holds_more_messages_than_the_cap(asks: list[float], messages: int, per_s: float) -> None:
    rate, sent = Rate(messages=messages, per_s=per_s), list[datetime]()
    for second in sorted(asks):
        at = NOW + timedelta(seconds=second)
        free = free_at(sent, rate, at)
        within = [one for one in sent if one > at - timedelta(seconds=per_s)]
        assert (free is None) == (len(within) < messages)
        if free is None:
            sent.append(at)
        else:
            assert free > at
            assert free_at(sent, rate, free + timedelta(milliseconds=1)) is None  # it says when, and it is so


ITEMS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(0, 2), st.booleans(), st.integers(1, 100)), max_size=40
)


@given(ITEMS)
def test_a_message_tells_of_every_alert_once_and_of_the_newest(raw: list[tuple[int, int, int, bool, int]]) -> None:
    items = [
        {
            **item_of(
                alert(_id=f"alert_{n}", changes=changes, count=count), RULE.title,
                What.RESOLVED if over else What.FIRING, times, NOW,
            )
        }
        for n, changes, times, over, count in raw
    ]  # fmt: skip
    found = contents(items)
    newest: dict[str, dict[str, Any]] = {}
    for item, (_, changes, times, _, _) in zip(items, raw, strict=True):
        before = newest.get(item["alert"])
        if before is None or before["key"] <= (changes, times):
            newest[item["alert"]] = {"key": (changes, times), "item": item}
    assert {one.alert: (one.what, one.count) for one in found.entries} == {
        id: (one["item"]["what"], one["item"]["count"]) for id, one in newest.items()
    }
    assert len(found.entries) == len({one.alert for one in found.entries})
    assert found.events == sum(one["item"]["count"] for one in newest.values())
    assert sum(len(entries) for _, entries in found.by_rule()) == len(found.entries)
    assert [one.over for one in found.entries] == sorted(one.over for one in found.entries)


# attempts


@given(
    st.integers(min_value=0, max_value=50),
    st.floats(min_value=0, max_value=1),
    st.floats(min_value=0, max_value=400_000),
)
def test_a_message_is_tried_until_it_is_given_up(failed: int, jitter: float, age_s: float) -> None:
    given_up_s = 259_200.0
    after = after_attempt(
        taken=False, failed_before=failed, closed_at=NOW - timedelta(seconds=age_s), first_s=5, give_up_s=given_up_s,
        retry_after_s=None, now=NOW, jitter=jitter,
    )  # fmt: skip
    if age_s >= given_up_s:
        assert (after.state, after.due_at) == (NotificationState.DEAD, None)
    else:
        assert after.state is NotificationState.RETRYING
        assert after.due_at is not None
        assert NOW + timedelta(seconds=5) <= after.due_at <= NOW + timedelta(seconds=1.2 * WAIT_S_MAX)


def test_taken_is_sent_and_what_the_other_side_asks_for_lengthens_a_wait() -> None:
    fields: dict[str, Any] = {
        "failed_before": 0, "closed_at": NOW, "first_s": 5, "give_up_s": 3600, "now": NOW, "jitter": 0.0,
    }  # fmt: skip
    assert after_attempt(taken=True, retry_after_s=60, **fields).state is NotificationState.SENT
    assert after_attempt(taken=False, retry_after_s=60, **fields).due_at == NOW + timedelta(seconds=60)
    assert after_attempt(taken=False, retry_after_s=1, **fields).due_at == NOW + timedelta(seconds=5)
