"""Who is to be told what of one alert now, and when it is looked at again. The heart of notify.

Called by: notify/planner.py. Pure: the moment is an argument. Survives a crash: what is told has an id that follows
from the alert, its change and the repeat, so telling it again is noticed. Change also: docs/notifications.md.

An alert that people are to be told of carries a marker `notify` {to, since, due_at}; each change sets a fresh one. What
is planned here leaves a marker with `lanes` (until when each is content) and `repeat` (how often it was planned) while
the alert fires, and none when there is nothing left to tell. Who was told that it is wrong is told that it is over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.alert_rules import AlertSeverity
from shared.domain.alert_state import AlertState
from shared.domain.recipients import Channel, Recipient
from shared.domain.silences import labels_of

HELD_LOOK_S = 30.0
"""What is held back (a silence, another alert) is looked at again after this time, since both may end early."""
NOBODY_LOOK_S = 300.0
"""An alert that reaches nobody, or that waits for somebody's hours, is looked at again after this time."""
MORE_S = 1800.0
"""More events of an alert that was told of wait so long for another message to go with."""
TEXT_MAX, TARGET_MAX = 300, 300


class What(StrEnum):
    """What somebody is told of an alert."""

    FIRING = "firing"
    """It is wrong."""
    MORE = "more"
    """It happened again, or nobody takes care of it any more."""
    REPEAT = "repeat"
    """It is still wrong."""
    RESOLVED = "resolved"
    """It is over."""
    TEST = "test"
    """Nothing is wrong; somebody wants to see that messages come."""


@dataclass(frozen=True)
class Lane:
    """One channel of one recipient: what messages are gathered for."""

    recipient: Recipient
    channel: Channel

    @property
    def id(self) -> str:
        """`<recipient>#<channel>`."""
        return f"{self.recipient.id}#{self.channel.id}"


@dataclass(frozen=True)
class Plan:
    """What becomes of one alert."""

    items: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """What is told, by lane."""
    marker: dict[str, Any] | None = None
    """What stands in `notify` afterwards."""


@dataclass(frozen=True)
class Held:
    """Why nobody is told now."""

    reason: str
    """`silence`, or `alert <id>`."""
    until: datetime | None = None
    """As far as is known."""


@dataclass(frozen=True)
class Rules:
    """What the alert's rule says about telling."""

    title: str
    repeat_s: float


def plan(
    alert: Mapping[str, Any],
    lanes: Sequence[Lane],
    told: Collection[str],
    held: Held | None,
    rule: Rules,
    now: datetime,
) -> Plan:
    """What is told of an alert with a marker that is due.

    lanes: those that cover it; of a resolved one, all that there are. told: lanes that were given something of it.
    """
    if alert["state"] == AlertState.RESOLVED:
        return _over(alert, lanes, told, held, rule, now)
    if alert["state"] != AlertState.FIRING or alert.get("acked"):
        return Plan()
    if held is not None:
        return Plan(marker=_put_off(alert, held, now))
    if not lanes:
        return Plan(marker=_put_off(alert, Held("nobody", now + timedelta(seconds=NOBODY_LOOK_S)), now))
    return _firing(alert, lanes, told, rule, now)


def _firing(alert: Mapping[str, Any], lanes: Sequence[Lane], told: Collection[str], rule: Rules, now: datetime) -> Plan:
    marker = alert["notify"]
    fresh = "lanes" not in marker
    content_until = {one["lane"]: one["at"] for one in marker.get("lanes") or ()}
    severity, times = AlertSeverity(alert["severity"]), int(marker.get("repeat") or 0)
    items: dict[str, dict[str, Any]] = {}
    later: list[dict[str, Any]] = []
    for lane in lanes:
        due_at = content_until.get(lane.id, now)
        waits = lane.recipient.wait_until(severity, now)
        if due_at > now:
            later.append({"lane": lane.id, "at": due_at})
        elif waits is not None:
            later.append({"lane": lane.id, "at": min(waits, now + timedelta(seconds=NOBODY_LOOK_S))})
        else:
            what = What.FIRING if lane.id not in told else What.MORE if fresh else What.REPEAT
            items[lane.id] = item_of(alert, rule.title, what, times, now)
            again_s = lane.recipient.repeat_s or rule.repeat_s
            later.append({"lane": lane.id, "at": now + timedelta(seconds=again_s)})
    return Plan(items, _marker(alert, later, times + bool(items)))


def _over(
    alert: Mapping[str, Any],
    lanes: Sequence[Lane],
    told: Collection[str],
    held: Held | None,
    rule: Rules,
    now: datetime,
) -> Plan:
    """It is over: who was told that it is wrong is told so. What was not stored while it was wrong was told by word."""
    marker = alert["notify"]
    unstored = bool((alert.get("facts") or {}).get("unstored"))
    waiting = {one["lane"] for one in marker.get("lanes") or ()}
    mine = [
        lane for lane in lanes
        if (lane.id in told or (unstored and lane.channel.covers(labels_of(alert))))
        and (not waiting or lane.id in waiting)
    ]  # fmt: skip
    if not mine:
        return Plan()
    if held is not None and held.reason == "silence":
        return Plan(marker=_put_off(alert, held, now))
    items: dict[str, dict[str, Any]] = {}
    later: list[dict[str, Any]] = []
    for lane in mine:
        waits = lane.recipient.wait_until(AlertSeverity(alert["severity"]), now)
        if waits is None:
            items[lane.id] = item_of(alert, rule.title, What.RESOLVED, int(marker.get("repeat") or 0), now)
        else:
            later.append({"lane": lane.id, "at": min(waits, now + timedelta(seconds=NOBODY_LOOK_S))})
    times = int(marker.get("repeat") or 0) + 1
    return Plan(items, _marker(alert, later, times) if later else None)


def _marker(alert: Mapping[str, Any], later: list[dict[str, Any]], times: int) -> dict[str, Any]:
    since, due_at = alert["notify"]["since"], min(one["at"] for one in later)
    return {"to": "notify", "since": since, "due_at": due_at, "lanes": later, "repeat": times}


def _put_off(alert: Mapping[str, Any], held: Held, now: datetime) -> dict[str, Any]:
    """The marker as it is, but due later: whatever was to be told is told then."""
    look_s = NOBODY_LOOK_S if held.reason == "nobody" else HELD_LOOK_S
    at = now + timedelta(seconds=look_s)
    return {**alert["notify"], "due_at": min(at, held.until) if held.until else at, "held": held.reason}


def item_of(alert: Mapping[str, Any], title: str, what: What, times: int, now: datetime) -> dict[str, Any]:
    """What is told of an alert, as it is stored in the message that it goes with."""
    return {
        "id": f"{alert['_id']}/{alert['changes']}/{times}", "alert": alert["_id"], "what": what.value, "at": now,
        "account": alert["account"], "rule": alert["rule"], "title": title, "kind": alert["kind"],
        "severity": alert["severity"], "target": str(alert["target"])[:TARGET_MAX],
        "text": str(alert["text"])[:TEXT_MAX], "since": alert["since"], "resolved_at": alert.get("resolved_at"),
        "count": alert.get("count") or 1, "acked": (alert.get("acked") or {}).get("by"),
    }  # fmt: skip


def trial_item(id: str, by: str, now: datetime) -> dict[str, Any]:
    """What is told when somebody asks for a test. id: of the request."""
    return {
        "id": f"test/{id}", "alert": f"test/{id}", "what": What.TEST.value, "at": now, "account": None,
        "rule": "test", "title": "Test message", "kind": "test", "severity": AlertSeverity.INFO.value, "target": "test",
        "text": f"a test message, asked for by {by}"[:TEXT_MAX], "since": now, "resolved_at": None, "count": 1,
        "acked": None,
    }  # fmt: skip


def covering(lanes: Collection[Lane], alert: Mapping[str, Any]) -> list[Lane]:
    """The lanes that want to be told of an alert."""
    labels = labels_of(alert)
    return [lane for lane in lanes if lane.channel.covers(labels)]
