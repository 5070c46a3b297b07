"""What a rule makes of what was observed: is it long, late or much enough, and what does one say then.

Called by: evaluation.py, health.py. Pure: the moment is an argument. Change also: shared/domain/alert_params.py,
docs/alerts.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.findings import Finding, Observation, Observed, covers
from shared.domain.alert_params import Counted, Deep, Failing, Flying, Held, Idle, Lagging, Params, Still, Within
from shared.domain.alert_rules import Rule, RuleKind
from shared.domain.canary import is_counted

TASKS_NAMED = 5
SILENT_ROUNDS = 5
"""The canary that was not sent for so many rounds is missed."""
Verdict = tuple[datetime, str, dict[str, Any]] | None
"""From when on it is wrong, what one says, and further facts; none: it is well."""


def judge(rules: Mapping[str, Rule], observed: Mapping[RuleKind, Observed], now: datetime) -> list[Finding]:
    """What the enabled rules find, at most one for each rule and target."""
    found: list[Finding] = []
    for rule in rules.values():
        if rule.enabled and rule.kind in observed:
            found += judge_rule(rule, rules, observed[rule.kind].items, now)
    return found


def judge_rule(rule: Rule, rules: Mapping[str, Rule], items: Iterable[Observation], now: datetime) -> Iterable[Finding]:
    """What one rule finds in the observations of its kind. Of the canary's account only its own rule tells."""
    settings = rule.settings
    for one in items:
        if is_counted(one.account) and covers(rule, rules, one.account, one.scope):
            verdict = _verdict(rule.kind, settings, one, now)
            if verdict is not None:
                since, text, facts = verdict
                facts = {**one.scope, **one.facts, **facts}
                yield Finding(rule, one.target, text, one.account, since, facts)


def _verdict(kind: RuleKind, settings: Params, one: Observation, now: datetime) -> Verdict:
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(settings, one, now)
    if isinstance(settings, Still):
        return _still(settings, one, now)
    return one.since or now, one.text, {}


def _still(settings: Still, one: Observation, now: datetime) -> Verdict:
    if one.since is None:
        return None
    since = one.since + timedelta(seconds=settings.still_s)
    if now < since:
        return None
    return since, f"{one.text} for {duration(now - one.since)}", {"still_s": round((now - one.since).total_seconds())}


def _idle(settings: Params, one: Observation, now: datetime) -> Verdict:
    assert isinstance(settings, Idle)
    if one.since is None or not settings.idle_s <= (now - one.since).total_seconds() < settings.forget_s:
        return None
    text = f"{one.text} for {duration(now - one.since)}"
    return one.since + timedelta(seconds=settings.idle_s), text, {"newest_at": one.since}


def _danger(settings: Params, one: Observation, now: datetime) -> Verdict:
    """measures.tasks: [(task, deadline, ends_at or None, kept or None)]: forecasts of tasks that wait."""
    assert isinstance(settings, Within)
    horizon, margin = now + timedelta(seconds=settings.within_s), timedelta(seconds=settings.margin_s)
    late = [
        (task, deadline, ends_at)
        for task, deadline, ends_at, kept in one.measures["tasks"]
        if deadline <= horizon and (kept is False or (ends_at is not None and ends_at + margin > deadline))
    ]
    if not late:
        return None
    task, deadline, ends_at = late[0]
    when = f"it should end at about {moment(ends_at)}" if ends_at else "nobody can say when it ends"
    many = f"{len(late)} waiting tasks" if len(late) > 1 else "a waiting task"
    text = f"{many} of {one.text} will probably miss the deadline; the first is due at {moment(deadline)}, and {when}"
    facts = {"task": task, "tasks": [id for id, _, _ in late[:TASKS_NAMED]], "deadline": deadline, "ends_at": ends_at}
    return now, text, {**facts, "count": len(late)}


def _failing(settings: Params, one: Observation, now: datetime) -> Verdict:
    """measures.ended: [(finished_at, failed)], the newest first."""
    assert isinstance(settings, Failing)
    first = now - timedelta(seconds=settings.window_s)
    ended = [failed for at, failed in one.measures["ended"] if at >= first][: settings.sample]
    failed = sum(ended)
    if len(ended) < settings.min_tasks or failed * 100 < settings.percent * len(ended):
        return None
    percent = round(100 * failed / len(ended))
    text = f"{failed} of the {len(ended)} newest tasks of {one.text} failed ({percent} %)"
    return now, text, {"failed": failed, "ended": len(ended), "percent": percent}


def _dead(settings: Params, one: Observation, now: datetime) -> Verdict:
    """measures.dead: [(delivery, created_at)], the newest first; measures.more: there are more."""
    assert isinstance(settings, Counted)
    first = now - timedelta(seconds=settings.look_back_s)
    dead = [(id, at) for id, at in one.measures["dead"] if at >= first]
    if len(dead) < settings.min_count:
        return None
    said = f"{len(dead)}{' or more' if one.measures.get('more') else ''}"
    what = "delivery" if said == "1" else "deliveries"
    text = f"{said} {what} to {one.text} {'was' if said == '1' else 'were'} given up"
    return now, text, {"count": len(dead), "deliveries": [id for id, _ in dead[:TASKS_NAMED]]}


def _held(settings: Params, one: Observation, now: datetime) -> Verdict:
    assert isinstance(settings, Held)
    if one.measures.get("by_person") and not settings.by_person:
        return None
    return one.since or now, one.text, {}


def _deep(settings: Params, one: Observation, now: datetime) -> Verdict:
    assert isinstance(settings, Deep)
    messages, dead = int(one.measures["messages"]), int(one.measures["dead"])
    said = [f"{messages} messages wait in {one.text}"] if messages >= settings.depth else []
    said += [f"{dead} dead letters of {one.text} wait for a person"] if dead >= settings.dead else []
    return (now, "; ".join(said), {"messages": messages, "dead": dead}) if said else None


def _lagging(settings: Params, one: Observation, now: datetime) -> Verdict:
    """measures.troubles: [text]; measures.lags: {member: seconds}."""
    assert isinstance(settings, Lagging)
    lags = {name: lag_s for name, lag_s in one.measures.get("lags", {}).items() if lag_s > settings.lag_s}
    said = [*one.measures.get("troubles", ()), *(f"{name} is {lag_s:.0f} s behind" for name, lag_s in lags.items())]
    return (one.since or now, f"{one.text}: {'; '.join(said)}", {"troubles": said}) if said else None


def _flying(settings: Params, one: Observation, now: datetime) -> Verdict:
    """measures.rounds: [{at, seconds (none: it failed), reason}], the newest first; at: when the newest one ended;
    every_s, timeout_s: when the next one must have ended."""
    assert isinstance(settings, Flying)
    silent_s = SILENT_ROUNDS * one.measures["every_s"] + one.measures["timeout_s"]
    if (now - one.measures["at"]).total_seconds() > silent_s:
        since = one.measures["at"] + timedelta(seconds=silent_s)
        return since, f"{one.text} has not been sent since {moment(one.measures['at'])}", {}
    newest = one.measures["rounds"][: settings.rounds]
    wrong = [each for each in newest if each["seconds"] is None or each["seconds"] > settings.slow_s]
    if len(wrong) < settings.rounds:
        return None
    lost = next((each for each in newest if each["seconds"] is None), None)
    facts = {"task": newest[0].get("task"), "seconds": newest[0]["seconds"]}
    if lost is None:
        return newest[-1]["at"], f"{one.text} takes {newest[0]['seconds']:.1f} s", facts
    return newest[-1]["at"], f"{one.text} does not come through: {lost['reason']}", facts


_SPECIAL: Mapping[RuleKind, Callable[[Any, Observation, datetime], Verdict]] = {
    RuleKind.WORKFLOW_IDLE: _idle,
    RuleKind.DEADLINE_DANGER: _danger,
    RuleKind.FAILURE_RATE: _failing,
    RuleKind.DELIVERY_DEAD: _dead,
    RuleKind.WORKFLOW_HELD: _held,
    RuleKind.QUEUE_DEEP: _deep,
    RuleKind.DATABASE_UNHEALTHY: _lagging,
    RuleKind.CANARY_FAILING: _flying,
}


def duration(length: timedelta) -> str:
    """Two units at most: `2 h 5 min`."""
    left = max(int(length.total_seconds()), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def moment(at: datetime) -> str:
    """A moment for people, in UTC."""
    return at.strftime("%Y-%m-%dT%H:%MZ")
