"""Service level objectives, and the burn-rate rules that follow from them.

Called by: rules.py, docs/generate.py (the table in docs/slo.md). Pure. A budget that burns fast calls somebody at once,
one that burns slowly makes a ticket; a long window says that it matters, a short one that it still goes on
(https://sre.google/workbook/alerting-on-slos/, "Multiwindow, Multi-Burn-Rate Alerts").
"""

from __future__ import annotations

from dataclasses import dataclass

PERIOD_DAYS = 30
RATIO = "slo:regente_errors:ratio_rate"


@dataclass(frozen=True)
class Objective:
    """A promise about a share of events."""

    name: str
    title: str
    target: float
    """Share of events that must be good, over PERIOD_DAYS."""
    good: str
    """Counter of good events, with its matchers."""
    total: str
    """Counter of all events, with its matchers."""
    why: str
    """What people lose when it is missed, and what is not counted."""

    @property
    def budget(self) -> float:
        """Share of events that may be bad."""
        return round(1 - self.target, 6)

    def ratio(self, window: str) -> str:
        """Share of events in a window that were bad; not a number when there were none."""
        return f"1 - sum(rate({self.good}[{window}])) / sum(rate({self.total}[{window}]))"


@dataclass(frozen=True)
class Burn:
    """When a budget burns too fast."""

    severity: str
    long: str
    short: str
    factor: float
    """How many times as fast as the period allows."""


BURNS = (
    Burn("page", "1h", "5m", 14.4),
    Burn("page", "6h", "30m", 6),
    Burn("ticket", "1d", "2h", 3),
    Burn("ticket", "3d", "6h", 1),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

_PUSH = 'job="regente-collector", route=~"/v1/.*"'
_HTTP = "regente_http_request_seconds"
OBJECTIVES = (
    Objective(
        "push_available", "Partners' requests are answered without a fault of ours", 0.999,
        f'{_HTTP}_count{{{_PUSH}, status!~"5.."}}', f"{_HTTP}_count{{{_PUSH}}}",
        "A partner whose push fails repeats it; nothing is lost, but its work waits. Refused items are no fault.",
    ),
    Objective(
        "push_fast", "Partners' requests are answered within a second", 0.99,
        f'{_HTTP}_bucket{{{_PUSH}, le="1.0"}}', f"{_HTTP}_count{{{_PUSH}}}",
        "Pushes of thousands of tasks in one request count like others.",
    ),
    Objective(
        "begun_soon", "Tasks begin within 15 minutes of when they might run", 0.95,
        'regente_task_wait_seconds_bucket{le="900.0"}', "regente_task_wait_seconds_count",
        "Closed hours and used-up limits count as waiting: an installation with both sets this to its own promise.",
    ),
    Objective(
        "delivered_soon", "Results arrive within a minute", 0.99,
        'regente_delivery_delay_seconds_bucket{le="60.0"}', "regente_delivery_delay_seconds_count",
        "From when the delivery was made to when the endpoint took it; an endpoint that is down counts.",
    ),
    Objective(
        "robots_reached", "An instruction spends less than a second between executor and robot", 0.99,
        'regente_instruction_part_seconds_bucket{part="queue", le="1.0"}',
        'regente_instruction_part_seconds_count{part="queue"}',
        "Robots work slower than this alone; what the portal takes is the robot's part and does not count.",
    ),
)  # fmt: skip


def recording() -> list[dict[str, object]]:
    """The share of bad events of each objective, for each window."""
    return [
        {"record": f"{RATIO}{window}", "expr": one.ratio(window), "labels": {"slo": one.name}}
        for one in OBJECTIVES
        for window in WINDOWS
    ]


def burning(objective: Objective, severity: str) -> str:
    """True for an objective whose budget burns too fast in some pair of windows of a severity."""
    pairs = []
    for burn in BURNS:
        if burn.severity == severity:
            most = f"{burn.factor:g} * {objective.budget:g}"
            long, short = (f'{RATIO}{window}{{slo="{objective.name}"}}' for window in (burn.long, burn.short))
            pairs.append(f"({long} > {most} and {short} > {most})")
    return " or ".join(pairs)


def table() -> str:
    """For docs/slo.md."""
    rows = ["| objective | target | may be bad in 30 days | |", "| --- | --- | --- | --- |"]
    for one in OBJECTIVES:
        budget = f"{one.budget * 100:g} %"
        rows.append(f"| `{one.name}`: {one.title.lower()} | {one.target * 100:g} % | {budget} | {one.why} |")
    rows += [
        "",
        "| severity | long window | short window | times too fast |",
        "| --- | --- | --- | --- |",
    ]
    rows += [f"| {burn.severity} | {burn.long} | {burn.short} | {burn.factor:g} |" for burn in BURNS]
    return "\n".join(rows)
