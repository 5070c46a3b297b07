"""From what was found and which alerts are open to what changes. The heart of alerts.

Called by: evaluation.py (the pass). Pure: the moment is an argument. Survives a crash: every change is one write that
expects a state, so that a pass that was cut off is simply done again, by whoever comes next. Change also:
shared/domain/alert_state.py, store.py (applies the changes).

Two evaluators at once do no harm: both come to the same changes, and of each only the first takes effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from services.alerts.core.findings import Finding, key_of
from shared.domain.alert_rules import AlertSeverity, Rule, RuleKind
from shared.domain.alert_state import AlertState

REFRESH_AFTER = timedelta(seconds=30)
"""Text and figures of an alert are written again at most this often."""


class Why(StrEnum):
    """Why an alert was resolved."""

    OVER = "over"
    """What was wrong is so no more."""
    RULE = "rule"
    """Its rule was disabled, removed or changed, and no longer asks for it."""


@dataclass(frozen=True)
class Standing:
    """An open alert, as far as decisions need it."""

    id: str
    rule: str
    target: str
    kind: RuleKind
    state: AlertState
    since: datetime
    severity: AlertSeverity
    text: str
    until: datetime | None = None
    """Of events: it is not over before."""
    refreshed_at: datetime | None = None

    @property
    def key(self) -> str:
        """What is unique among open alerts."""
        return key_of(self.rule, self.target)


@dataclass(frozen=True)
class Begin:
    """Something began: a new alert in this state."""

    finding: Finding
    state: AlertState


@dataclass(frozen=True)
class Fire:
    """It held for as long as the rule asks: people are told."""

    standing: Standing
    finding: Finding


@dataclass(frozen=True)
class Resolve:
    """It is over. Of one that was pending nobody is told."""

    standing: Standing
    why: Why


@dataclass(frozen=True)
class Refresh:
    """Its text, figures or severity are other ones by now; nobody is told for that alone."""

    standing: Standing
    finding: Finding


Change = Begin | Fire | Resolve | Refresh


def alert_id(rule: str, target: str, since: datetime) -> str:
    """The id of an alert: whoever finds the same thing makes the same one."""
    stamp = int(since.timestamp() * 1000)
    return "alert_" + hashlib.sha256(f"{rule}#{target}#{stamp}".encode()).hexdigest()[:32]


def evaluate(
    rules: Mapping[str, Rule],
    findings: Iterable[Finding],
    standing: Collection[Standing],
    unknown: Mapping[RuleKind, Collection[str]],
    now: datetime,
) -> list[Change]:
    """What changes.

    findings: of enabled rules. unknown: kinds that were not, or not wholly, read, with those targets of them that are
    surely well; other alerts of these kinds stay as they are.
    """
    found = {finding.key: finding for finding in findings}
    changes: list[Change] = []
    for alert in standing:
        finding = found.pop(alert.key, None)
        rule = rules.get(alert.rule)
        if finding is not None:
            changes += _holds(alert, finding, now)
        elif rule is None or not rule.enabled or rule.kind is not alert.kind:
            changes.append(Resolve(alert, Why.RULE))
        elif _over(alert, unknown, now):
            changes.append(Resolve(alert, Why.OVER))
    changes += [Begin(one, AlertState.FIRING if _due(one, now) else AlertState.PENDING) for one in found.values()]
    return changes


def _holds(alert: Standing, finding: Finding, now: datetime) -> list[Change]:
    """An open alert's condition still holds."""
    if alert.state is AlertState.PENDING and (now - alert.since).total_seconds() >= finding.rule.for_s:
        return [Fire(alert, finding)]
    if alert.severity is not finding.rule.severity:
        return [Refresh(alert, finding)]
    if alert.text != finding.text and (alert.refreshed_at is None or now - alert.refreshed_at >= REFRESH_AFTER):
        return [Refresh(alert, finding)]
    return []


def _over(alert: Standing, unknown: Mapping[RuleKind, Collection[str]], now: datetime) -> bool:
    if alert.until is not None:
        return now >= alert.until
    return alert.kind not in unknown or alert.target in unknown[alert.kind]


def _due(finding: Finding, now: datetime) -> bool:
    return (now - finding.since).total_seconds() >= finding.rule.for_s


def begin_document(begin: Begin, *, id: str, now: datetime, op: str) -> dict[str, Any]:
    """A new alert as it is stored."""
    finding, firing = begin.finding, begin.state is AlertState.FIRING
    return {
        "_id": id, "schema_version": 1, "rule": finding.rule.id, "kind": finding.rule.kind.value,
        "target": finding.target, "key": finding.key, "open": True, "account": finding.account,
        "severity": finding.rule.severity.value, "text": finding.text, "facts": dict(finding.facts),
        "state": begin.state.value, "since": finding.since, "created_at": now, "refreshed_at": now,
        "fired_at": now if firing else None, "resolved_at": None, "resolved_why": None, "until": None, "events": [],
        "count": 1, "acked": None, "notify": notify_marker(now) if firing else None, "changes": 1 if firing else 0,
        "op": op,
    }  # fmt: skip


def notify_marker(now: datetime) -> dict[str, Any]:
    """Set in the same write as each change that people are told of; cleared by who tells them."""
    return {"to": "notify", "since": now, "due_at": now}


def standing_of(document: Mapping[str, Any]) -> Standing:
    """An open alert from its document."""
    return Standing(
        id=document["_id"], rule=document["rule"], target=document["target"], kind=RuleKind(document["kind"]),
        state=AlertState(document["state"]), since=document["since"], severity=AlertSeverity(document["severity"]),
        text=document["text"], until=document.get("until"), refreshed_at=document.get("refreshed_at"),
    )  # fmt: skip
