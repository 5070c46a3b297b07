"""What was seen, and what a rule makes of it.

Called by: the reads (make observations), judging.py, evaluate.py. Pure; nothing survives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from shared.domain.alert_rules import Rule


@dataclass(frozen=True)
class Observation:
    """Something that a rule of its kind may find wrong, whatever that rule's parameters are."""

    target: str
    """What it is about: `worker/<id>`, `task/<id>`, `workflow/<account>/<name>`, .."""
    text: str
    """An English sentence without a full stop; judging may add figures."""
    account: str | None = None
    since: datetime | None = None
    """From when on it has been so, by the data; none: nobody knows."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What people need, ready to be stored."""
    scope: Mapping[str, str] = field(default_factory=dict)
    """What `where` of a rule is compared with: workflow, worker, endpoint, source, service."""
    measures: Mapping[str, Any] = field(default_factory=dict)
    """What judging needs besides; not stored."""


@dataclass(frozen=True)
class Observed:
    """All observations of a kind at one moment."""

    items: Sequence[Observation] = ()
    complete: bool = True
    """False: there was more than its limit; then only `asked` are surely known."""
    asked: frozenset[str] = frozenset()
    """Targets of open alerts that were looked at by name."""

    def knows(self, target: str) -> bool:
        """Whether a target without an observation is surely well."""
        return self.complete or target in self.asked


@dataclass(frozen=True)
class Finding:
    """A rule finds something wrong with a target."""

    rule: Rule
    target: str
    text: str
    account: str | None
    since: datetime
    facts: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What is unique among open alerts."""
        return key_of(self.rule.id, self.target)


def key_of(rule: str, target: str) -> str:
    """What is unique among open alerts."""
    return f"{rule}#{target}"


def covers(rule: Rule, rules: Mapping[str, Rule], account: str | None, scope: Mapping[str, str]) -> bool:
    """Whether a rule is about something of this account and scope.

    rules: all by id; an account's own rule takes the place of the installation's of the same name, be it disabled.
    """
    if rule.account is None:
        if account is not None and f"{account}/{rule.name}" in rules:
            return False
    elif rule.account != account:
        return False
    wanted = rule.where.model_dump(exclude_none=True) if rule.where else {}
    found = {**scope, **({"account": account} if account else {})}
    return all(name in found and fnmatchcase(str(found[name]), pattern) for name, pattern in wanted.items())
