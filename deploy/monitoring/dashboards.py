"""Grafana's dashboards, as data: what each shows, and the JSON that Grafana imports.

Called by: docs/generate.py (writes deploy/grafana), tests (which ask a real Prometheus for every query). Pure. Layout:
rows of panels, two or four beside each other, filled from the left.
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.monitoring import slos
from deploy.monitoring.expressions import increase, once, quantile, rate

WIDTH, HEIGHT = 24, 8
SCHEMA = 38
CHOSEN = 'account=~"$account", workflow=~"$workflow"'
"""Matchers of the dashboards that have variables."""
JOB = 'job=~"$job"'


@dataclass(frozen=True)
class Query:
    """One line of a panel."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    width: int = 12


@dataclass(frozen=True)
class Dashboard:
    """One page."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: dict[str, str] = field(default_factory=dict)
    """Names with the query that gives their values."""


def one(title: str, expr: str, unit: str = "short", about: str = "") -> Panel:
    """A single figure."""
    return Panel(title, (Query(expr),), unit, "stat", about, 6)


def lines(title: str, *queries: tuple[str, str], unit: str = "short", about: str = "") -> Panel:
    """Lines over time: (expression, legend)."""
    return Panel(title, tuple(Query(*query) for query in queries), unit, "timeseries", about)


TASK_VARIABLES = {
    "account": "label_values(regente_tasks, account)",
    "workflow": 'label_values(regente_tasks{account=~"$account"}, workflow)',
}
_DONE = 'outcome="succeeded"'
_CONNECTED = 'sum(state:regente_robots:max{authorisation="authorised", connected="yes"})'

OVERVIEW = Dashboard(
    "regente-overview", "Regente: overview",
    (
        one("Tasks waiting", 'sum(regente_tasks{state="queued"})'),
        one("Tasks in progress", 'sum(regente_tasks{state="running"})'),
        one("Oldest waits", "max(regente_task_oldest_age_seconds)", "s"),
        one("Robots connected", _CONNECTED),
        one("Alerts firing", 'sum(regente_alerts_open{state="firing"})'),
        one("Questions to people", "sum(regente_questions_open)", about="Open decisions and tasks in doubt."),
        one("Deliveries not arrived", "sum(regente_deliveries)"),
        one("Processes that answer", 'sum(up{job=~"regente-.*"})'),
        lines("Tasks in and out", (rate("regente_tasks_accepted_total"), "in"),
              (rate("regente_tasks_finished_total", "outcome"), "{{outcome}}"), unit="reqps"),
        lines("Wait and handling, 95 %", (quantile(0.95, "regente_task_wait_seconds"), "wait"),
              (quantile(0.95, "regente_task_handling_seconds"), "handling"), unit="s"),
        lines("Burn of the error budgets, 1 h", *[
            (f'{slos.RATIO}1h{{slo="{goal.name}"}} / {goal.budget:g}', goal.name) for goal in slos.OBJECTIVES
        ], about="1 is as fast as the period allows; docs/slo.md."),
        lines("Deliveries", (rate("regente_delivery_attempts_total", "meaning"), "{{meaning}}"),
              (rate("regente_deliveries_dead_total"), "given up"), unit="reqps"),
    ),
)  # fmt: skip
WORKFLOW = Dashboard(
    "regente-workflow", "Regente: workflow",
    (
        one("Waiting", f'sum(regente_tasks{{{CHOSEN}, state="queued"}})'),
        one("In progress", f'sum(regente_tasks{{{CHOSEN}, state="running"}})'),
        one("Held", f'sum(regente_tasks{{{CHOSEN}, state="held"}})'),
        one("Oldest waits", f"max(regente_task_oldest_age_seconds{{{CHOSEN}}})", "s"),
        lines("Tasks in", (f"workflow:regente_tasks_accepted:rate5m{{{CHOSEN}}}", "{{workflow}}"), unit="reqps"),
        lines("Tasks out", (f"workflow_outcome:regente_tasks_finished:rate5m{{{CHOSEN}}}",
                            "{{workflow}} {{outcome}}"), unit="reqps"),
        lines("Wait, 95 %", (f"workflow:regente_task_wait_seconds:p95_5m{{{CHOSEN}}}", "{{workflow}}"), unit="s"),
        lines("Handling, 95 %", (f"workflow:regente_task_handling_seconds:p95_5m{{{CHOSEN}}}", "{{workflow}}"),
              unit="s"),
        lines("Limits used", ("workflow:regente_limit_used:ratio{account=~\"$account\"}",
                              "{{workflow}} per {{per}}"), unit="percentunit",
              about="* is the account's own limit."),
        lines("Share that succeeded, 1 h", (
            f"{increase('regente_tasks_finished_total', 'workflow', '1h', f'{CHOSEN}, {_DONE}')} / "
            f"{increase('regente_tasks_finished_total', 'workflow', '1h', CHOSEN)}", "{{workflow}}"),
            unit="percentunit"),
        lines("Attempts by how they ended", (rate("regente_task_attempts_total", "outcome"), "{{outcome}}"),
              unit="reqps", about="All workflows."),
        lines("Given back and tried again", (rate("regente_tasks_returned_total", "what"), "{{what}}"), unit="reqps",
              about="All workflows."),
    ),
    TASK_VARIABLES,
)  # fmt: skip
FLEET = Dashboard(
    "regente-fleet", "Regente: fleet",
    (
        one("Connected", _CONNECTED),
        one("At work", 'sum(state:regente_robots:max{connected="yes", status="running"}) or vector(0)'),
        one("Called disconnected, 1 h", increase("regente_robots_silenced_total", window="1h")),
        one("Put into quarantine, 1 h", increase("regente_robots_quarantined_total", window="1h")),
        lines("Robots", ("sum by (status, connected) (state:regente_robots:max)",
                         "{{status}} connected: {{connected}}")),
        lines("Heartbeats", (rate("regente_heartbeats_total", "standing"), "{{standing}}"), unit="reqps"),
        lines("An instruction's time, 95 %", ("part:regente_instruction_part_seconds:p95_5m", "{{part}}"), unit="s",
              about="server: until it is sent. queue: there and back. robot: its own work."),
        lines("Instructions", (rate("regente_instruction_seconds_count", "module"), "{{module}}"),
              (rate("regente_instructions_resent_total"), "sent again"), unit="reqps"),
        lines("Runs", ("sum by (state) (regente_runs)", "{{state}}")),
        lines("Runs opened, lost, taken over", (rate("regente_runs_opened_total"), "opened"),
              (rate("regente_robots_lost_total"), "lost their robot"), (rate("regente_runs_stalled_total"), "stalled"),
              (rate("regente_runs_taken_over_total"), "taken over"), unit="reqps"),
        lines("Opening a run, 95 %", (quantile(0.95, "regente_dispatch_seconds"), "dispatch"), unit="s"),
        lines("Put right after crashes", (rate("regente_zombies_recovered_total", "what"), "{{what}}"), unit="reqps"),
    ),
)  # fmt: skip
SERVICE = Dashboard(
    "regente-service", "Regente: service",
    (
        lines("Up", (f"up{{{JOB}}}", "{{job}} {{instance}}")),
        lines("Ready", (f"regente_ready{{{JOB}}}", "{{job}} {{instance}}")),
        lines("Requests", (rate("regente_http_request_seconds_count", "job, status", where=JOB), "{{job}} {{status}}"),
              unit="reqps"),
        lines("Requests, 95 %", (f"job_route:regente_http_request_seconds:p95_5m{{{JOB}}}", "{{job}} {{route}}"),
              unit="s"),
        lines("Messages published", (rate("regente_broker_published_total", "job, exchange, outcome", where=JOB),
                                     "{{job}} {{exchange}} {{outcome}}"), unit="reqps"),
        lines("Messages settled", (rate("regente_broker_messages_settled_total", "job, queue, outcome", where=JOB),
                                   "{{job}} {{queue}} {{outcome}}"), unit="reqps"),
        lines("Sweeps, 95 %", (quantile(0.95, "regente_sweeper_seconds", "sweeper", where=JOB), "{{sweeper}}"),
              unit="s"),
        lines("Sweeps that failed", (rate("regente_sweeper_failures_total", "sweeper", where=JOB), "{{sweeper}}"),
              unit="reqps"),
        lines("Since a sweep ended well", (
            f"time() - max by (job, sweeper) (regente_sweeper_last_success_timestamp_seconds{{{JOB}}})",
            "{{sweeper}}"), unit="s"),
        lines("Memory", (f"process_resident_memory_bytes{{{JOB}}}", "{{job}} {{instance}}"), unit="bytes"),
        lines("Processor", (f"rate(process_cpu_seconds_total{{{JOB}}}[5m])", "{{job}} {{instance}}"),
              unit="percentunit"),
        lines("Log lines not stored", (rate("regente_log_lines_dropped_total", "job", where=JOB), "{{job}}"),
              unit="reqps"),
    ),
    {"job": 'label_values(up{job=~"regente-.*"}, job)'},
)  # fmt: skip
SERVERS = Dashboard(
    "regente-servers", "Regente: broker and database",
    (
        one("Members primary", 'sum(regente_mongo_members{state="primary"})'),
        one("Lag", "max(regente_mongo_replication_lag_seconds)", "s"),
        one("Oplog covers", "min(regente_mongo_oplog_window_seconds)", "s"),
        one("Writes tried again, 1 h", increase("regente_mongo_retries_total", window="1h")),
        lines("Connections of the primary", ("max by (kind) (regente_mongo_connections)", "{{kind}}")),
        lines("Members", ("max by (state) (regente_mongo_members)", "{{state}}")),
        lines("Messages in queues", (
            'topk(20, max by (queue) (rabbitmq_detailed_queue_messages{queue!~".*\\\\.dead"}))', "{{queue}}")),
        lines("Dead letters", ('max by (queue) (rabbitmq_detailed_queue_messages{queue=~".*\\\\.dead"})', "{{queue}}")),
        lines("Consumers", ("topk(20, max by (queue) (rabbitmq_detailed_queue_consumers))", "{{queue}}")),
        lines("Connections of the broker", ("sum(rabbitmq_connections)", "connections"),
              ("sum(rabbitmq_channels)", "channels")),
        lines("Broker's memory", ("rabbitmq_process_resident_memory_bytes", "{{instance}}"),
              ("rabbitmq_resident_memory_limit_bytes", "limit"), unit="bytes"),
        lines("Broker's disk", ("rabbitmq_disk_space_available_bytes", "{{instance}}"),
              ("rabbitmq_disk_space_available_limit_bytes", "limit"), unit="bytes"),
        lines("Health as alerts sees it", ("min by (server) (regente_alerts_server_healthy)", "{{server}}")),
        lines("Connects to the broker, 1 h", (increase("regente_broker_connects_total", "job", "1h"), "{{job}}")),
    ),
)  # fmt: skip
BUSINESS = Dashboard(
    "regente-business", "Regente: business",
    (
        one("Tasks in, 1 d", increase("regente_tasks_accepted_total")),
        one("Tasks done, 1 d", increase("regente_tasks_finished_total", where=_DONE)),
        one("Share done, 1 d", f"{increase('regente_tasks_finished_total', where=_DONE)} / "
                               f"{increase('regente_tasks_finished_total')}", "percentunit"),
        one("Repeated pushes, 1 d", increase("regente_tasks_duplicate_total"),
            about="Items that were tasks before: made once, answered again."),
        lines("In by workflow, 1 d", (increase("regente_tasks_accepted_total", "account, workflow"),
                                      "{{account}} {{workflow}}")),
        lines("Out by workflow, 1 d", (increase("regente_tasks_finished_total", "account, workflow, outcome"),
                                       "{{account}} {{workflow}} {{outcome}}")),
        lines("Limits: used", (once("regente_limit_used", "account, workflow, per"), "{{workflow}} per {{per}}"),
              (once("regente_limit_max", "account, workflow, per"), "{{workflow}} per {{per}}: allowed")),
        lines("What waits for people", ("max by (kind) (regente_questions_open)", "{{kind}}")),
        lines("From a result to its arrival", (quantile(0.5, "regente_delivery_delay_seconds"), "half"),
              (quantile(0.95, "regente_delivery_delay_seconds"), "95 %"), unit="s"),
        lines("Refused items, 1 d", (increase("regente_tasks_rejected_total", "code"), "{{code}}")),
    ),
)  # fmt: skip
DASHBOARDS = (OVERVIEW, WORKFLOW, FLEET, SERVICE, SERVERS, BUSINESS)


def files() -> dict[str, str]:
    """The JSON files by name."""
    return {f"{page.uid.removeprefix('regente-')}.json": text(page) for page in DASHBOARDS}


def text(page: Dashboard) -> str:
    """A dashboard as Grafana imports it."""
    return json.dumps(_json(page), indent=1, ensure_ascii=False) + "\n"


def _json(page: Dashboard) -> dict[str, Any]:
    return {
        "uid": page.uid, "title": page.title, "tags": ["regente"], "schemaVersion": SCHEMA, "version": 1,
        "editable": False, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "browser",
        "description": "Written by `make docs` from deploy/monitoring; not to be edited.",
        "templating": {"list": [_source(), *(_variable(*pair) for pair in page.variables.items())]},
        "panels": _placed(page.panels), "annotations": {"list": []}, "links": [],
    }  # fmt: skip


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "type": "query", "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def _placed(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    placed, x, y, row_height = [], 0, 0, 0
    for id, panel in enumerate(panels, 1):
        height = HEIGHT if panel.kind == "timeseries" else HEIGHT // 2
        if x + panel.width > WIDTH or (x and height != row_height):
            x, y = 0, y + row_height
        row_height = height
        placed.append({"id": id, "gridPos": {"x": x, "y": y, "w": panel.width, "h": height}, **_panel(panel)})
        x += panel.width
    return placed


def _panel(panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "title": panel.title, "type": panel.kind, "description": panel.about, "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": source, "expr": query.expr,
             "legendFormat": query.legend or "__auto"}
            for n, query in enumerate(panel.queries)
        ],
    }  # fmt: skip
