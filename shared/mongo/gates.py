"""Reads what the gates of workflows are judged by: settings, circuit breakers, calendars, limits, runs at work.

Called by: scheduler (each pass over the queue), shared.mongo.waiting and console (why something waits). Reads only; a
fixed number of queries however many workflows are asked for, each by id or by a short index range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.domain.calendar import Calendar, calendar_of
from shared.domain.gates import (
    SERVER_LOCK,
    AccountRules,
    Gate,
    Rules,
    Standing,
    Used,
    account_lock,
    account_rules_of,
    gate,
    rules_of,
    workflow_lock,
)
from shared.domain.limits import Limit, period
from shared.domain.run_state import LIVE, RunState
from shared.mongo import Mongo

LIVE_MAX = 20_000
HELD_MAX = 10_000
"""Open circuit breakers that are read; more are not to be expected, and the opening of a run looks again."""
WORKFLOW_FIELDS = {"account": 1, "name": 1, "title": 1, "current": 1, "settings": 1}


@dataclass(frozen=True)
class WorkflowGate:
    """A workflow with its rules, and whether it takes tasks now."""

    document: Mapping[str, Any]
    rules: Rules
    account: AccountRules
    gate: Gate
    standing: Standing

    @property
    def id(self) -> str:
        """Its `_id` in `workflows`."""
        return str(self.document["_id"])


@dataclass(frozen=True)
class Situation:
    """What was read about some workflows at one moment."""

    at: datetime
    gates: Mapping[str, WorkflowGate]
    """By the workflow's id; workflows that do not exist are missing."""
    held: Counter[str] = field(default_factory=Counter)
    """How many runs hold each lock (shared.domain.gates: account, workflow, group)."""


async def live_locks(mongo: Mongo) -> Counter[str]:
    """How many runs hold each lock: those at work, and those that have ended but were not yet put away."""
    held: Counter[str] = Counter()
    for query in ({"state": {"$in": sorted(LIVE)}}, {"pending.to": "scheduler"}):
        async for run in mongo["runs"].find(query, {"locks": 1, "state": 1}).limit(LIVE_MAX):
            if "pending.to" not in query or run["state"] not in LIVE:
                parked = run["state"] == RunState.WAITING
                held.update(lock for lock in run.get("locks") or () if not (parked and lock == SERVER_LOCK))
    return held


async def read_situation(
    mongo: Mongo, ids: Iterable[str], now: datetime, *, held: Counter[str] | None = None
) -> Situation:
    """Everything about the workflows with these ids. held: as `live_locks` just counted, if the caller has it."""
    wanted = sorted(set(ids))
    documents = await mongo["workflows"].find({"_id": {"$in": wanted}}, WORKFLOW_FIELDS).to_list(None)
    counted = held if held is not None else await live_locks(mongo)
    accounts = await _by_id(mongo, "accounts", {document["account"] for document in documents}, {"settings": 1})
    circuits = await _by_id(mongo, "circuits", [document["_id"] for document in documents])
    scenarios = await _held_scenarios(mongo, {document["account"] for document in documents})
    calendars = await Calendars.read(mongo, [(one["account"], one.get("settings") or {}) for one in documents])
    rules = {one["_id"]: rules_of(one.get("settings")) for one in documents}
    wholes = {id: account_rules_of(one.get("settings")) for id, one in accounts.items()}
    counters = [counter for one in documents for counter in _counters(one, rules[one["_id"]], wholes, now)]
    used = await _by_id(mongo, "usage", [counter.counter for counter in counters], {"used": 1})
    gates: dict[str, WorkflowGate] = {}
    for document in documents:
        id, account = document["_id"], wholes.get(document["account"], AccountRules())
        standing = Standing(
            workflow=document["name"],
            published=document.get("current") is not None,
            circuit=circuits.get(id),
            scenarios=scenarios.get(id, {}),
            calendar=calendars.of(document["account"], document.get("settings") or {}),
            used=[_filled(one, used) for one in _counters(document, rules[id], wholes, now)],
            runs=counted[workflow_lock(document["account"], document["name"])],
            account_runs=counted[account_lock(document["account"])],
        )
        gates[id] = WorkflowGate(document, rules[id], account, gate(rules[id], account, standing, now), standing)
    return Situation(now, gates, counted)


def counter_id(account: str, workflow: str | None, limit: Limit, now: datetime, zone: str) -> str:
    """Id of a limit's counter for the period that `now` falls into; workflow none: the account's."""
    return f"{account}/{workflow or '*'}/{limit.per}/{period(limit.per, now, zone)}"


def _counters(
    document: Mapping[str, Any], rules: Rules, accounts: Mapping[str, AccountRules], now: datetime
) -> list[Used]:
    """The counters of a workflow's and its account's limits, nothing used yet."""
    account, name = document["account"], document["name"]
    whole = accounts.get(account, AccountRules())
    own = [Used(counter_id(account, name, one, now, rules.zone), one, 0, rules.zone, False) for one in rules.limits]
    return own + [
        Used(counter_id(account, None, one, now, whole.zone), one, 0, whole.zone, True) for one in whole.limits
    ]


def _filled(one: Used, found: Mapping[str, Mapping[str, Any]]) -> Used:
    used = int(found.get(one.counter, {}).get("used", 0))
    return Used(one.counter, one.limit, used, one.zone, one.of_account)


async def _held_scenarios(mongo: Mongo, accounts: Iterable[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """The open circuit breakers of scenarios, by the workflow's id and the scenario's name."""
    query = {"account": {"$in": sorted(accounts)}, "state": "open"}
    held: dict[str, dict[str, dict[str, Any]]] = {}
    async for circuit in mongo["circuits"].find(query).limit(HELD_MAX):
        if circuit.get("scenario"):
            held.setdefault(f"{circuit['account']}/{circuit['workflow']}", {})[circuit["scenario"]] = circuit
    return held


class Calendars:
    """Holidays and portals' maintenance of some accounts, and the calendars that follow with some settings."""

    def __init__(self, holidays: Mapping[str, Mapping[str, Any]], portals: Mapping[str, Mapping[str, Any]]) -> None:
        self._holidays = holidays
        self._portals = portals

    @classmethod
    async def read(cls, mongo: Mongo, settings: Sequence[tuple[str, Mapping[str, Any]]]) -> Calendars:
        """Read what these (account, stored settings or schedule) name."""
        days = {f"{account}/{name}" for account, one in settings for name in one.get("holidays") or ()}
        sites = {f"{account}/{name}" for account, one in settings for name in one.get("portals") or ()}
        return cls(await _by_id(mongo, "calendars", days), await _by_id(mongo, "portals", sites))

    def of(self, account: str, settings: Mapping[str, Any]) -> Calendar | None:
        """The calendar of a workflow's settings or a robot's schedule; none: always open."""
        names, sites = settings.get("holidays") or (), settings.get("portals") or ()
        if not settings.get("windows") and not names and not sites:
            return None
        days = [self._holidays[key] for name in names if (key := f"{account}/{name}") in self._holidays]
        portals = [self._portals[key] for name in sites if (key := f"{account}/{name}") in self._portals]
        return calendar_of(settings, holidays=days, portals=portals)


async def _by_id(
    mongo: Mongo, collection: str, ids: Iterable[str], fields: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    return {one["_id"]: one async for one in mongo[collection].find({"_id": {"$in": wanted}}, fields)}
