"""From findings and open alerts to changes, against what must always be so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

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
    evaluate,
    standing_of,
)
from services.alerts.core.findings import Finding
from shared.domain.alert_rules import DEFAULTS, AlertSeverity, Rule, RuleKind
from shared.domain.alert_state import ALERT, AlertState

START = datetime(2027, 1, 31, 12, tzinfo=UTC)
KINDS = (RuleKind.ROBOT_LOST, RuleKind.WORKFLOW_HELD, RuleKind.RUN_STUCK)
TARGETS = ("a", "b", "c")


def rule(kind: RuleKind, for_s: float = 0.0, **more: object) -> Rule:
    default = next(one for one in DEFAULTS if one.kind is kind)
    return default.model_copy(update={"for_s": for_s, **more})


def finding(kind: RuleKind, target: str, since: datetime, for_s: float = 0.0, text: str = "wrong") -> Finding:
    return Finding(rule(kind, for_s), target, text, "acme", since, {})


def apply(standing: list[Standing], changes: list[Change], now: datetime) -> list[Standing]:
    """What the store does, without a database; it fails where the store's guard would refuse."""
    alerts = {alert.key: alert for alert in standing}
    for change in changes:
        match change:
            case Begin():
                assert change.finding.key not in alerts
                one = change.finding
                id = alert_id(one.rule.id, one.target, one.since)
                alerts[one.key] = standing_of(begin_document(change, id=id, now=now, op="op_1"))
            case Fire():
                ALERT.check(change.standing.state, AlertState.FIRING, owner="alerts")
                alerts[change.standing.key] = replace(change.standing, state=AlertState.FIRING)
            case Resolve():
                ALERT.check(change.standing.state, AlertState.RESOLVED, owner="alerts")
                del alerts[change.standing.key]
            case Refresh():
                rule_, text = change.finding.rule, change.finding.text
                alerts[change.standing.key] = replace(change.standing, severity=rule_.severity, text=text)
    return list(alerts.values())


STEP = st.fixed_dictionaries(
    {
        "passed_s": st.integers(0, 100),
        "wrong": st.sets(st.tuples(st.sampled_from(KINDS), st.sampled_from(TARGETS))),
        "unread": st.sets(st.sampled_from(KINDS)),
        "disabled": st.sets(st.sampled_from(KINDS), max_size=1),
    }
)


@given(st.lists(STEP, max_size=12), st.integers(0, 120))
def test_alerts_follow_what_is_so(steps: list[dict[str, object]], for_s: int) -> None:
    """Against the obvious model: since when each thing has been seen without a gap."""
    standing: list[Standing] = []
    held: dict[tuple[RuleKind, str], datetime] = {}
    now = START
    for step in steps:
        now += timedelta(seconds=step["passed_s"])  # type: ignore[arg-type]
        unread, disabled = step["unread"], step["disabled"]
        rules = {kind.value: rule(kind, for_s, enabled=kind not in disabled) for kind in KINDS}  # type: ignore[operator]
        wrong = {one for one in step["wrong"] if one[0] not in unread and one[0] not in disabled}  # type: ignore
        findings = [Finding(rules[kind.value], target, "wrong", "acme", now, {}) for kind, target in wrong]
        unknown = {kind: frozenset[str]() for kind in unread}  # type: ignore[attr-defined]
        changes = evaluate(rules, findings, standing, unknown, now)
        standing = apply(standing, changes, now)
        assert not apply_again(rules, findings, standing, unknown, now), "doing it twice changes nothing"
        for key in list(held):
            if key[0] in disabled or (key not in wrong and key[0] not in unread):  # type: ignore[operator]
                del held[key]
        for key in wrong:
            held.setdefault(key, now)
        expected = {
            (kind.value, target): AlertState.FIRING
            if (now - since).total_seconds() >= for_s and kind not in unread  # type: ignore[operator]
            else None
            for (kind, target), since in held.items()
        }
        found = {(alert.rule, alert.target): alert.state for alert in standing}
        assert found.keys() == expected.keys()
        for key, state in expected.items():
            if state is AlertState.FIRING:
                assert found[key] is AlertState.FIRING
            elif key[0] not in {kind.value for kind in unread}:  # type: ignore[attr-defined]
                assert found[key] is AlertState.PENDING


def apply_again(*args: object) -> list[Change]:
    return evaluate(*args)  # type: ignore[arg-type]


def test_what_fires_at_once_and_what_waits() -> None:
    rules = {"robot_lost": rule(RuleKind.ROBOT_LOST, 60)}
    late = finding(RuleKind.ROBOT_LOST, "a", START - timedelta(seconds=60), 60)
    new = finding(RuleKind.ROBOT_LOST, "b", START, 60)
    states = {c.finding.target: c.state for c in evaluate(rules, [late, new], [], {}, START) if isinstance(c, Begin)}
    assert states == {"a": AlertState.FIRING, "b": AlertState.PENDING}


def test_an_event_is_over_at_its_time_and_not_before() -> None:
    rules = {"limit_reached": rule(RuleKind.LIMIT_REACHED)}
    alert = Standing(
        "alert_1", "limit_reached", "t", RuleKind.LIMIT_REACHED, AlertState.FIRING, START, AlertSeverity.WARNING, "x",
        until=START + timedelta(hours=1),
    )  # fmt: skip
    assert evaluate(rules, [], [alert], {}, START + timedelta(minutes=59)) == []
    assert evaluate(rules, [], [alert], {}, START + timedelta(hours=1)) == [Resolve(alert, Why.OVER)]


def test_a_rule_that_is_gone_or_disabled_resolves_even_what_can_not_be_read() -> None:
    alert = Standing("a", "robot_lost", "t", RuleKind.ROBOT_LOST, AlertState.FIRING, START, AlertSeverity.ERROR, "x")
    unknown = {RuleKind.ROBOT_LOST: frozenset[str]()}
    for rules in ({}, {"robot_lost": rule(RuleKind.ROBOT_LOST, enabled=False)}):
        assert evaluate(rules, [], [alert], unknown, START) == [Resolve(alert, Why.RULE)]


def test_more_than_the_limit_is_no_end_but_for_what_was_looked_at() -> None:
    rules = {"robot_lost": rule(RuleKind.ROBOT_LOST)}
    alerts = [
        Standing(name, "robot_lost", name, RuleKind.ROBOT_LOST, AlertState.FIRING, START, AlertSeverity.ERROR, "x")
        for name in ("seen", "unseen")
    ]
    changes = evaluate(rules, [], alerts, {RuleKind.ROBOT_LOST: frozenset({"seen"})}, START)
    assert changes == [Resolve(alerts[0], Why.OVER)]


def test_another_text_is_written_now_and_then_and_another_severity_at_once() -> None:
    rules = {"robot_lost": rule(RuleKind.ROBOT_LOST)}
    alert = Standing(
        "a", "robot_lost", "a", RuleKind.ROBOT_LOST, AlertState.FIRING, START, AlertSeverity.ERROR, "old",
        refreshed_at=START,
    )  # fmt: skip
    one = finding(RuleKind.ROBOT_LOST, "a", START, text="new")
    assert evaluate(rules, [one], [alert], {}, START + timedelta(seconds=29)) == []
    assert evaluate(rules, [one], [alert], {}, START + timedelta(seconds=30)) == [Refresh(alert, one)]
    worse = replace(one, rule=rule(RuleKind.ROBOT_LOST, severity=AlertSeverity.CRITICAL))
    assert evaluate(rules, [worse], [alert], {}, START) == [Refresh(alert, worse)]


def test_ids_follow_from_rule_target_and_beginning() -> None:
    ids = {alert_id(r, t, s) for r in "ab" for t in "cd" for s in (START, START + timedelta(milliseconds=1))}
    assert len(ids) == 8
    assert alert_id("a", "c", START) == alert_id("a", "c", START)
