"""The pass of alerts: rules and open alerts, what is so now, and the changes that follow, written one by one.

Called by: main.py (the leader's sweep). Survives a crash: the next pass, of whoever leads then, comes to the changes
that are left. It is led by one to save work; two at once do no harm (core/evaluate.py). Change also: reads/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.errors import PyMongoError

from services.alerts.core.evaluate import Begin, Change, Fire, Resolve, Standing, evaluate
from services.alerts.core.findings import Observed
from services.alerts.core.judging import judge
from services.alerts.store import AlertStore
from shared.domain.alert_params import Params
from shared.domain.alert_rules import EVENT_KINDS, Rule, RuleKind
from shared.errors import RegenteError
from shared.mongo import first_line
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge, histogram

READ_TIMEOUT_S = 20.0
OPEN = gauge("alerts_open", "Alerts that are pending or firing, by kind and state.", ["kind", "state"])
CHANGES = counter("alerts_changes_total", "Changes of alerts, by kind and what changed.", ["kind", "change"])
READS = histogram("alerts_read_seconds", "How long reading for one kind of rules took.", ["kind"])
FAILED = counter("alerts_read_failures_total", "Kinds of rules that could not be read for in a pass.", ["kind"])
log = get_logger(__name__)


@dataclass(frozen=True)
class Ask:
    """What a read is asked for."""

    now: datetime
    params: tuple[Params, ...]
    """Of all enabled rules of the kind: what the widest of them needs is read."""
    targets: frozenset[str]
    """Targets of open alerts of the kind: looked at by name where there is more than the limit."""

    def each(self, name: str) -> list[Any]:
        """One parameter, of all these rules."""
        return [getattr(params, name) for params in self.params]


Read = Callable[[Ask], Awaitable[Observed]]


class Evaluation:
    """Passes over all rules."""

    def __init__(
        self,
        store: AlertStore,
        reads: Mapping[RuleKind, Read],
        *,
        changed: Callable[[], None],
        seldom: Mapping[RuleKind, float] | None = None,
    ) -> None:
        """changed: called after an alert changed. seldom: kinds that are read only so often, in seconds."""
        self._store = store
        self._reads = reads
        self._changed = changed
        self._seldom = dict(seldom or {})
        self._kept: dict[RuleKind, tuple[float, Observed]] = {}

    async def run(self, at: datetime | None = None) -> list[Change]:
        """One pass; the changes that took effect. at: by which clock; none: now."""
        rules, standing = await asyncio.gather(self._store.rules(), self._store.standing())
        at = at or now()
        observed = await self._observe(rules, standing, at)
        unknown = {
            kind: observed[kind].asked if kind in observed else frozenset()
            for kind in RuleKind
            if kind not in EVENT_KINDS and not (kind in observed and observed[kind].complete)
        }
        changes = evaluate(rules, judge(rules, observed, at), standing, unknown, at)
        done = [change for change in changes if await self._store.apply(change, at)]
        for change in done:
            _tell(change)
        if done:
            self._changed()
        _count(standing)
        return done

    async def _observe(
        self, rules: Mapping[str, Rule], standing: list[Standing], at: datetime
    ) -> dict[RuleKind, Observed]:
        observed: dict[RuleKind, Observed] = {}
        for kind, read in self._reads.items():
            params = tuple(rule.settings for rule in rules.values() if rule.kind is kind and rule.enabled)
            if not params:
                continue  # open alerts of it are resolved because of their rule
            targets = frozenset(alert.target for alert in standing if alert.kind is kind)
            found = await self._read(kind, read, Ask(at, params, targets))
            if found is not None:
                observed[kind] = found
        return observed

    async def _read(self, kind: RuleKind, read: Read, ask: Ask) -> Observed | None:
        """What one kind's read found; none when it failed: then nothing is said about that kind in this pass."""
        started = monotonic_s()
        kept = self._kept.get(kind)
        if kept is not None and started - kept[0] < self._seldom.get(kind, 0.0):
            return kept[1]
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                found = await read(ask)
        except (RegenteError, PyMongoError, TimeoutError) as error:
            FAILED.labels(kind.value).inc()
            log.warning("rules can't be evaluated now", kind=kind.value, reason=first_line(error) or "timeout")
            return None
        READS.labels(kind.value).observe(monotonic_s() - started)
        if kind in self._seldom:
            self._kept[kind] = (started, found)
        return found


def _tell(change: Change) -> None:
    """One line for each change that people are told of, and the count."""
    what = type(change).__name__.lower()
    if isinstance(change, Begin):
        kind, target, text = change.finding.rule.kind, change.finding.target, change.finding.text
        rule, said = change.finding.rule.id, f"alert {change.state.value}"
    else:
        kind, target, text, rule = (
            change.standing.kind, change.standing.target, change.standing.text, change.standing.rule,
        )  # fmt: skip
        said = "alert firing" if isinstance(change, Fire) else "alert resolved"
    CHANGES.labels(kind.value, what).inc()
    if isinstance(change, Begin | Fire | Resolve):
        level = log.info if isinstance(change, Resolve) else log.warning
        level(said, rule=rule, kind=kind.value, target=target, text=text)


def _count(standing: list[Standing]) -> None:
    counts: dict[tuple[str, str], int] = {}
    for alert in standing:
        counts[alert.kind.value, alert.state.value] = counts.get((alert.kind.value, alert.state.value), 0) + 1
    for kind in RuleKind:
        for state in ("pending", "firing"):
            OPEN.labels(kind.value, state).set(counts.get((kind.value, state), 0))
