"""When what was gathered for a lane goes out, and what a message says: grouping, intervals, the rate's cap.

Called by: notify/bundles.py (gathers, closes), notify/render.py (what a message says). Pure: the moment is an argument.
Change also: docs/notifications.md.

There is one open bundle for a lane. Everything that the lane is to be told goes into it, whatever it is about; so what
comes while a message is held back (by an interval, by the cap, because the one before has not arrived) is told together
by the next one, and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.telling import MORE_S, What
from shared.domain.alert_rules import AlertSeverity
from shared.domain.recipients import Rate, Recipient

ITEMS_MAX = 10_000
"""Of one bundle: a document must not grow without an end. What is more waits for the next one."""


def group_of(item: Mapping[str, Any]) -> str:
    """What belongs together: alerts of one rule and one account."""
    return f"{item['account'] or '*'}|{item['rule']}"


def due_at(item: Mapping[str, Any], recipient: Recipient, sent: Mapping[str, datetime], now: datetime) -> datetime:
    """When an item wants to be told, gathered with others.

    sent: when the lane was last told of each group. The first of a group waits `group_wait_s` for others like it; what
    follows waits until `group_interval_s` after the message before.
    """
    if item["what"] == What.TEST:
        return now
    soon = now + timedelta(seconds=recipient.group_wait_s)
    last = sent.get(group_of(item))
    if last is not None:
        soon = max(soon, last + timedelta(seconds=recipient.group_interval_s))
    return max(soon, now + timedelta(seconds=MORE_S)) if item["what"] == What.MORE else soon


def free_at(closed: Sequence[datetime], rate: Rate, now: datetime) -> datetime | None:
    """When the cap lets the next message go; none: now. closed: when the lane's newest messages were closed."""
    window = timedelta(seconds=rate.per_s)
    within = sorted(at for at in closed if at > now - window)
    return within[-rate.messages] + window if len(within) >= rate.messages else None


@dataclass(frozen=True)
class Entry:
    """One alert, as a message tells of it."""

    alert: str
    what: What
    """What was said of it last."""
    account: str | None
    rule: str
    title: str
    kind: str
    severity: AlertSeverity
    target: str
    text: str
    since: datetime
    resolved_at: datetime | None
    count: int
    """Events that it stands for."""
    acked: str | None

    @property
    def over(self) -> bool:
        """Whether it is resolved."""
        return self.what is What.RESOLVED


@dataclass(frozen=True)
class Contents:
    """What a message tells, the worst first."""

    entries: Sequence[Entry]

    @property
    def firing(self) -> list[Entry]:
        """What is wrong."""
        return [one for one in self.entries if not one.over]

    @property
    def over(self) -> list[Entry]:
        """What is over."""
        return [one for one in self.entries if one.over]

    @property
    def worst(self) -> AlertSeverity:
        """Of what is wrong, or of what is over when nothing is wrong any more."""
        return max((one.severity for one in self.firing or self.entries), key=lambda severity: severity.rank)

    @property
    def events(self) -> int:
        """Events that its alerts stand for."""
        return sum(one.count for one in self.entries)

    @property
    def accounts(self) -> list[str]:
        """Accounts that it is about; what is about the installation is about none."""
        return sorted({one.account for one in self.entries if one.account})

    def by_rule(self) -> list[tuple[str, list[Entry]]]:
        """Its entries by rule, the rule with the worst one first."""
        found: dict[str, list[Entry]] = {}
        for one in self.entries:
            found.setdefault(one.rule, []).append(one)
        return list(found.items())

    @property
    def only_test(self) -> bool:
        """Whether it is a test and nothing else."""
        return all(one.what is What.TEST for one in self.entries)


def contents(items: Iterable[Mapping[str, Any]]) -> Contents:
    """What a message says of its items: of each alert the newest, those that are wrong first, then by severity."""
    newest: dict[str, Mapping[str, Any]] = {}
    for item in items:
        before = newest.get(item["alert"])
        if before is None or _order(before) <= _order(item):
            newest[item["alert"]] = item
    entries = [_entry(item) for item in newest.values()]
    return Contents(sorted(entries, key=lambda one: (one.over, -one.severity.rank, one.since, one.alert)))


def _order(item: Mapping[str, Any]) -> tuple[int, int]:
    """Changes of an alert, then repeats; ids end in both."""
    parts = str(item["id"]).rsplit("/", 2)
    return (int(parts[-2]), int(parts[-1])) if item["what"] != What.TEST else (0, 0)


def _entry(item: Mapping[str, Any]) -> Entry:
    fields = {name: item[name] for name in Entry.__dataclass_fields__ if name not in ("what", "severity")}
    return Entry(what=What(item["what"]), severity=AlertSeverity(item["severity"]), **fields)
