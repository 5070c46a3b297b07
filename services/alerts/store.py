"""Alerts' own queries: rules, alerts, events handed over. What the rules look at is read in reads/.

Called by: evaluation.py, handlers.py, health.py. Survives a crash: each change is one write that expects a state; an
alert's id follows from rule, target and when it began, and its key is unique while it is open. Change also:
shared/mongo/indexes.py, ARCHITECTURE.md (Data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.evaluate import (
    Begin,
    Change,
    Fire,
    Refresh,
    Resolve,
    Standing,
    Why,
    alert_id,
    begin_document,
    notify_marker,
    standing_of,
)
from services.alerts.core.events import EVENTS_KEPT, Happened
from services.alerts.core.findings import Finding
from services.alerts.core.unstored import Unstored
from shared.domain.alert_rules import DEFAULTS, RULES_MAX, BadRule, Rule, parse_rule, rule_document
from shared.domain.alert_state import AlertState
from shared.mongo import Mongo
from shared.mongo.guarded import Guarded, guarded_update, insert_once
from shared.obs.ids import new_id
from shared.obs.logs import get_logger

OPEN_MAX = 20_000
"""Open alerts that one pass looks at."""
STANDING = {
    "rule": 1, "kind": 1, "target": 1, "state": 1, "since": 1, "severity": 1, "text": 1, "until": 1, "refreshed_at": 1,
}  # fmt: skip
SEEDED_BY = "installation"
log = get_logger(__name__)


class AlertStore:
    """Alerts' view of the database."""

    def __init__(self, mongo: Mongo, *, keep_days: int = 400) -> None:
        self.mongo = mongo
        self._keep = timedelta(days=keep_days)
        self._bad: set[str] = set()

    # rules

    async def seed(self, now: datetime) -> None:
        """Insert the defaults that are not there; what people changed stays."""
        for rule in DEFAULTS:
            await insert_once(self.mongo["rules"], rule_document(rule, at=now, by=SEEDED_BY))

    async def rules(self) -> dict[str, Rule]:
        """All rules by id, disabled ones too. One that can't be understood is left out, and said once."""
        found: dict[str, Rule] = {}
        async for document in self.mongo["rules"].find({}).limit(RULES_MAX):
            try:
                found[document["_id"]] = parse_rule(document)
            except BadRule as error:
                if document["_id"] not in self._bad:
                    log.error("rule can't be used; it is left out", rule=document["_id"], reason=str(error))
                self._bad.add(document["_id"])
            else:
                self._bad.discard(document["_id"])
        return found

    # alerts

    async def standing(self) -> list[Standing]:
        """All open alerts."""
        found = (
            await self.mongo["alerts"]
            .find({"open": True, "key": {"$gt": ""}}, STANDING)
            .limit(OPEN_MAX)
            .to_list(OPEN_MAX)
        )
        return [standing_of(document) for document in found]

    async def alert(self, id: str) -> dict[str, Any] | None:
        """An alert by its id."""
        return await self.mongo["alerts"].find_one({"_id": id})

    async def apply(self, change: Change, now: datetime) -> bool:
        """Make one change; false when somebody else did, or the alert has moved on.

        Raises: TemporaryError; then it is made by the next pass.
        """
        match change:
            case Begin():
                return await self._begin(change, now)
            case Fire():
                return (await self._fire(change, now)).applied
            case Resolve():
                return (await self._resolve(change.standing, change.why, now)).applied
            case Refresh():
                return (await self._refresh(change, now)).applied

    async def _begin(self, begin: Begin, now: datetime) -> bool:
        finding = begin.finding
        id = alert_id(finding.rule.id, finding.target, finding.since)
        if await insert_once(self.mongo["alerts"], begin_document(begin, id=id, now=now, op=new_id("op_"))):
            return True
        there = await self.mongo["alerts"].find_one({"_id": id}, {"open": 1})
        if there is None or there.get("open"):
            return False  # another alert of this rule and target is open, or another evaluator was first
        again = Finding(finding.rule, finding.target, finding.text, finding.account, now, finding.facts)
        id = alert_id(finding.rule.id, finding.target, now)  # resolved meanwhile, and it goes on: another alert
        document = begin_document(Begin(again, begin.state), id=id, now=now, op=new_id("op_"))
        return await insert_once(self.mongo["alerts"], document)

    async def _fire(self, fire: Fire, now: datetime) -> Guarded:
        fields = {
            "state": AlertState.FIRING.value, "fired_at": now, "refreshed_at": now, "text": fire.finding.text,
            "facts": dict(fire.finding.facts), "severity": fire.finding.rule.severity.value,
            "notify": notify_marker(now),
        }  # fmt: skip
        return await self._update(fire.standing.id, AlertState.PENDING, {"$set": fields, "$inc": {"changes": 1}})

    async def _resolve(self, standing: Standing, why: Why, now: datetime) -> Guarded:
        told = standing.state is AlertState.FIRING
        fields = {
            "state": AlertState.RESOLVED.value, "resolved_at": now, "resolved_why": why.value,
            "expires_at": now + self._keep, "notify": notify_marker(now) if told else None,
        }  # fmt: skip
        update = {"$set": fields, "$unset": {"open": ""}, "$inc": {"changes": 1 if told else 0}}
        expect: dict[str, Any] = {} if standing.until is None else {"until": standing.until}
        return await self._update(standing.id, standing.state, update, **expect)

    async def _refresh(self, refresh: Refresh, now: datetime) -> Guarded:
        finding = refresh.finding
        fields = {
            "text": finding.text, "facts": dict(finding.facts), "severity": finding.rule.severity.value,
            "refreshed_at": now,
        }  # fmt: skip
        return await self._update(refresh.standing.id, refresh.standing.state, {"$set": fields})

    async def _update(self, id: str, expect: AlertState, update: Mapping[str, Any], **more: Any) -> Guarded:
        return await guarded_update(
            self.mongo["alerts"], id, {"state": expect.value, **more}, dict(update), op=new_id("op_")
        )

    async def acknowledge(
        self, id: str, acked: Mapping[str, Any] | None, now: datetime, *, free_only: bool = False
    ) -> bool:
        """Note that somebody takes care of an open alert, or no longer; false when it is over.

        free_only: only while nobody takes care of it.
        """
        fields: dict[str, Any] = {"acked": dict(acked) if acked else None}
        expected: dict[str, Any] = {"state": AlertState.FIRING.value, **({"acked": None} if free_only else {})}
        if acked is None:
            fields["notify"] = notify_marker(now)
        done = await guarded_update(
            self.mongo["alerts"], id, expected, {"$set": fields, "$inc": {"changes": 1}}, op=new_id("op_"),
        )  # fmt: skip
        return done.applied

    async def named_in(self, notification: str) -> list[str]:
        """The alerts that a message tells of and that fire while nobody takes care of them."""
        found = await self.mongo["notifications"].find_one({"_id": notification}, {"items.alert": 1})
        ids = sorted({item["alert"] for item in (found or {}).get("items") or ()})
        query = {"_id": {"$in": ids}, "state": AlertState.FIRING.value, "acked": None}
        return [document["_id"] async for document in self.mongo["alerts"].find(query, {"_id": 1})]

    # events

    async def events_handed_over(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Events that wait for alerts, the longest waiting first."""
        query = {"pending.to": "alerts", "pending.due_at": {"$lte": now}}
        return await self.mongo["events"].find(query).sort("pending.due_at", 1).limit(limit).to_list(limit)

    async def event_taken(self, ids: Sequence[str]) -> None:
        """Their alerts stand, or no rule asks for them."""
        query = {"_id": {"$in": list(ids)}, "pending.to": "alerts"}
        await self.mongo["events"].update_many(query, {"$set": {"pending": None}})

    async def put_off(self, ids: Sequence[str], due_at: datetime) -> None:
        """They could not be taken: look again then."""
        query = {"_id": {"$in": list(ids)}, "pending.to": "alerts"}
        await self.mongo["events"].update_many(
            query, {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        )

    async def happened(self, one: Happened, now: datetime) -> None:
        """Make the alert of events, or add them to the one that is open; each event counts once.

        Raises: TemporaryError; RuntimeError when neither could be done (it is tried again).
        """
        for _ in range(5):
            document = _event_document(one, now)
            if await insert_once(self.mongo["alerts"], document) or await self._add(one, now):
                return
            there = await self.mongo["alerts"].find_one({"_id": document["_id"]}, {"events": 1, "open": 1})
            if there is not None and not there.get("open"):  # an alert that is over has some of them already
                ids = tuple(id for id in one.ids if id not in there["events"])
                if not ids:
                    return
                one = replace(one, ids=ids)
        raise RuntimeError(f"an alert of {one.finding.key} was opened and closed again and again; tried again")

    async def _add(self, one: Happened, now: datetime) -> bool:
        """Add events to the open alert of their rule and target; false: there is none open."""
        found = await self.mongo["alerts"].find_one(
            {"key": one.finding.key, "open": True}, {"events": 1, "until": 1, "count": 1}
        )
        if found is None:
            return False
        new = [id for id in one.ids if id not in found["events"]]
        if not new:
            return True
        until = max([one.until, *([found["until"]] if found.get("until") else [])])
        fields = {"text": one.finding.text, "facts": dict(one.finding.facts), "until": until, "refreshed_at": now}
        update = {
            "$set": {**fields, "state": AlertState.FIRING.value, "notify": notify_marker(now)},
            "$push": {"events": {"$each": new, "$slice": -EVENTS_KEPT}},
            "$inc": {"count": len(new), "changes": 1},
        }
        expect = {"open": True, "count": found["count"]}
        return (await guarded_update(self.mongo["alerts"], found["_id"], expect, update, op=new_id("op_"))).applied

    # what could not be stored when it was so

    async def store_late(self, one: Unstored, now: datetime) -> None:
        """An outage that is over: people are told that it is, and it stands among the others."""
        document = begin_document(Begin(one.finding, AlertState.FIRING), id=one.id, now=now, op=new_id("op_"))
        document.pop("open")
        document |= {
            "state": AlertState.RESOLVED.value, "fired_at": one.fired_at, "resolved_at": one.resolved_at or now,
            "resolved_why": Why.OVER.value, "expires_at": now + self._keep,
            "facts": {**one.finding.facts, "unstored": True, "told": one.times},
        }  # fmt: skip
        await insert_once(self.mongo["alerts"], document)


def _event_document(one: Happened, now: datetime) -> dict[str, Any]:
    """The alert of events; its id follows from the first of them."""
    finding = one.finding
    id = alert_id(f"{finding.rule.id}#{one.ids[0]}", finding.target, finding.since)
    document = begin_document(Begin(finding, AlertState.FIRING), id=id, now=now, op=new_id("op_"))
    return {**document, "until": one.until, "events": list(one.ids[-EVENTS_KEPT:]), "count": len(one.ids)}
