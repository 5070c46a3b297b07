"""From events that were handed over to alerts: what has no lasting condition that could be looked at.

Called by: handlers.py (the sweep of events). Pure: the moment is an argument. Survives a crash: an event stays pending
until its alerts stand; an alert keeps the ids of its newest events, so that none counts twice. Change also: ALERTED in
shared/domain/events.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.findings import Finding, covers
from shared.domain.alert_params import Kept, Stuck
from shared.domain.alert_rules import Rule, RuleKind
from shared.domain.events import EventKind

EVENTS_KEPT = 1000
"""Ids of events that an alert remembers: twice as many as one sweep takes, so that a sweep that is repeated counts none
of its events twice."""


@dataclass(frozen=True)
class Happened:
    """Events that are one alert."""

    finding: Finding
    """Of the newest of them."""
    ids: tuple[str, ...]
    until: datetime


def happened(events: Iterable[Mapping[str, Any]], rules: Mapping[str, Rule]) -> list[Happened]:
    """What enabled rules make of events, the oldest first; those of one rule and target are one."""
    found: dict[str, Happened] = {}
    for event in events:
        kind = kind_of(event)
        for rule in rules.values():
            if kind is rule.kind and rule.enabled and covers(rule, rules, event["account"], scope_of(event)):
                one = _one(event, rule)
                before = found.get(one.finding.key)
                found[one.finding.key] = _both(before, one) if before else one
    return list(found.values())


def kind_of(event: Mapping[str, Any]) -> RuleKind | None:
    """The kind of rules that an event is for; none: nobody's."""
    match event["kind"]:
        case EventKind.LIMIT_WARNING:
            return RuleKind.LIMIT_WARNING
        case EventKind.LIMIT_REACHED:
            return RuleKind.LIMIT_REACHED
        case EventKind.UNAUTHORISED_ATTEMPT:
            return RuleKind.UNAUTHORISED_ATTEMPT
        case EventKind.RUN_STALLED:
            return RuleKind.ROBOT_FROZEN if event["facts"].get("worker") else RuleKind.RUN_STUCK
    return None


def scope_of(event: Mapping[str, Any]) -> dict[str, str]:
    """What `where` of a rule is compared with."""
    facts = event["facts"]
    scope = {name: str(facts[name]) for name in ("workflow", "worker") if facts.get(name)}
    if event["kind"] in (EventKind.LIMIT_WARNING, EventKind.LIMIT_REACHED) and "/" in event["target"]:
        scope["workflow"] = event["target"].partition("/")[2]
    return scope


def _target(event: Mapping[str, Any], kind: RuleKind) -> str:
    if kind in (RuleKind.ROBOT_FROZEN, RuleKind.UNAUTHORISED_ATTEMPT):
        return f"worker/{event['facts'].get('worker') or event['target']}"
    return f"run/{event['target']}" if kind is RuleKind.RUN_STUCK else f"limit/{event['facts']['counter']}"


def _one(event: Mapping[str, Any], rule: Rule) -> Happened:
    facts = {**event["facts"], **scope_of(event), "event": event["_id"]}
    if rule.kind in (RuleKind.ROBOT_FROZEN, RuleKind.RUN_STUCK):
        facts["run"] = event["target"]
    finding = Finding(rule, _target(event, rule.kind), event["text"], event["account"], event["at"], facts)
    return Happened(finding, (event["_id"],), _until(event, rule))


def _until(event: Mapping[str, Any], rule: Rule) -> datetime:
    if isinstance(event["facts"].get("until"), datetime):
        until: datetime = event["facts"]["until"]
        return until
    settings = rule.settings
    keep_s = settings.keep_s if isinstance(settings, Kept | Stuck) else 0.0
    at: datetime = event["at"]
    return at + timedelta(seconds=keep_s)


def _both(before: Happened, after: Happened) -> Happened:
    """Two of the same rule and target: it began with the first; the text is the last one's."""
    last = after.finding
    finding = Finding(last.rule, last.target, last.text, last.account, before.finding.since, last.facts)
    return Happened(finding, before.ids + after.ids, max(before.until, after.until))
