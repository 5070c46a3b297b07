"""Recording and alert rules of Prometheus, and its scrape configuration.

Called by: docs/generate.py, tests (which also ask a real Prometheus for every expression). Pure. Change also:
deploy/prometheus/tests (every alert has a unit test there).

Alerts here tell what Regente's own alerts can't: that services, alerts among them, are away, and that objectives are
missed. What is wrong with tasks, robots and partners is told by services/alerts, which knows why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from deploy.monitoring import slos
from deploy.monitoring.expressions import BROKER_JOB, BROKER_QUEUES_JOB, JOBS, once, quantile, rate

INTERVAL = "15s"
HEAD = "# Written by `make docs` from deploy/monitoring; not to be edited.\n"
WORKFLOW = "account, workflow"
ROBOTS = once("regente_robots", "authorisation, status, connected")
RECORDED: Mapping[str, str] = {
    "workflow:regente_tasks_accepted:rate5m": rate("regente_tasks_accepted_total", WORKFLOW),
    "workflow_outcome:regente_tasks_finished:rate5m": rate("regente_tasks_finished_total", f"{WORKFLOW}, outcome"),
    "workflow:regente_task_wait_seconds:p95_5m": quantile(0.95, "regente_task_wait_seconds", WORKFLOW),
    "workflow:regente_task_handling_seconds:p95_5m": quantile(0.95, "regente_task_handling_seconds", WORKFLOW),
    "part:regente_instruction_part_seconds:p95_5m": quantile(0.95, "regente_instruction_part_seconds", "part"),
    "job_route:regente_http_request_seconds:p95_5m": quantile(0.95, "regente_http_request_seconds", "job, route"),
    "workflow:regente_limit_used:ratio": (
        f"{once('regente_limit_used', f'{WORKFLOW}, per')} / {once('regente_limit_max', f'{WORKFLOW}, per')}"
    ),
    "state:regente_robots:max": ROBOTS,
}
"""What dashboards ask for often, by its name."""


@dataclass(frozen=True)
class AlertRule:
    """One alert: a value and when it is wrong."""

    name: str
    value: str
    """What is looked at; never empty in a system that runs."""
    wrong: str
    """What is appended: `> 0`."""
    for_: str
    severity: str
    summary: str
    runbook: str


ALERTS = (
    AlertRule(
        "RegenteTargetDown", 'up{job=~"regente-.*|rabbitmq.*"}', "== 0", "1m", "page",
        "{{ $labels.job }} at {{ $labels.instance }} does not answer", "service_down",
    ),
    AlertRule(
        "RegenteNotReady", "regente_ready", "== 0", "3m", "page",
        "{{ $labels.job }} at {{ $labels.instance }} runs, but does not work", "service_down",
    ),
    AlertRule(
        "RegenteBrokerDisconnected", "regente_broker_connected", "== 0", "1m", "page",
        "{{ $labels.job }} at {{ $labels.instance }} has no connection to the broker", "broker_unhealthy",
    ),
    AlertRule(
        "RegenteNobodyLeads", "sum(regente_figures_leads)", "!= 1", "2m", "page",
        "{{ $value }} instances of alerts lead; figures and alerts can't be relied on", "service_down",
    ),
    AlertRule(
        "RegenteDatabaseWithoutPrimary", 'sum(regente_mongo_members{state="primary"}) or vector(0)', "!= 1", "1m",
        "page", "{{ $value }} members of the replica set are primary", "database_unhealthy",
    ),
    AlertRule(
        "RegenteDatabaseLags", "max by (member) (regente_mongo_replication_lag_seconds)", "> 30", "5m", "ticket",
        "{{ $labels.member }} is {{ $value }} s behind", "database_unhealthy",
    ),
    AlertRule(
        "RegenteAlertsUnstored", "max(regente_alerts_unstored)", "> 0", "1m", "page",
        "alerts sees what it can't store", "database_unhealthy",
    ),
    AlertRule(
        "RegenteSweeperFails", rate("regente_sweeper_failures_total", "job, sweeper", "10m"), "> 0.02", "10m", "ticket",
        "sweeper {{ $labels.sweeper }} fails again and again", "service_down",
    ),
    AlertRule(
        "RegenteLogLinesDropped", rate("regente_log_lines_dropped_total", "job", "10m"), "> 0", "10m", "ticket",
        "lines of {{ $labels.job }} do not reach the log in the database", "database_unhealthy",
    ),
    AlertRule(
        "RegenteQueueDeep", 'max by (queue) (rabbitmq_detailed_queue_messages{queue!~".*\\\\.dead"})', "> 1000", "10m",
        "ticket", "{{ $value }} messages wait in {{ $labels.queue }}", "queue_deep",
    ),
    AlertRule(
        "RegenteDeadLetters", 'max by (queue) (rabbitmq_detailed_queue_messages{queue=~".*\\\\.dead"})', "> 0", "5m",
        "ticket", "{{ $value }} dead letters in {{ $labels.queue }}", "queue_deep",
    ),
    AlertRule(
        "RegenteBrokerMemory", "max(rabbitmq_process_resident_memory_bytes / rabbitmq_resident_memory_limit_bytes)",
        "> 0.8", "5m", "page", "the broker uses most of its memory; soon it blocks publishers", "broker_unhealthy",
    ),
    AlertRule(
        "RegenteBrokerDisk", "min(rabbitmq_disk_space_available_bytes / rabbitmq_disk_space_available_limit_bytes)",
        "< 2", "5m", "page", "the broker's disk is nearly full; soon it blocks publishers", "broker_unhealthy",
    ),
    AlertRule(
        "RegenteNoRobots",
        'sum(regente_tasks{state="queued"}) * on () ((sum(state:regente_robots:max{authorisation="authorised", '
        'connected="yes"}) or vector(0)) == bool 0)', "> 0", "10m", "page",
        "{{ $value }} tasks wait, and no robot is connected", "robot_lost",
    ),
)  # fmt: skip


def groups() -> list[dict[str, object]]:
    """All groups of rules, recording rules first."""
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    return [
        {"name": "regente-recorded", "rules": recorded},
        {"name": "regente-slo-recorded", "rules": slos.recording()},
        {"name": "regente-alerts", "rules": [_alert(one) for one in ALERTS]},
        {"name": "regente-slo-alerts", "rules": _burns()},
    ]


def rules_file() -> str:
    """deploy/prometheus/rules/regente.yml."""
    return HEAD + yaml.safe_dump({"groups": groups()}, sort_keys=False, width=120, allow_unicode=True)


def config(
    targets: Mapping[str, Sequence[str]],
    broker: str,
    *,
    rules: str,
    interval: str = INTERVAL,
    alertmanagers: Sequence[str] = (),
) -> dict[str, object]:
    """A configuration of Prometheus. targets: host:port of each service's instances, by its name; broker: host:port of
    its metrics; rules: pattern of rule files, beside the configuration or absolute."""
    scrapes: list[dict[str, object]] = [
        {"job_name": f"regente-{name}", "static_configs": [{"targets": list(targets[name])}]}
        for name in JOBS
        if targets.get(name)
    ]
    scrapes.append({"job_name": BROKER_JOB, "static_configs": [{"targets": [broker]}]})
    scrapes.append(
        {
            "job_name": BROKER_QUEUES_JOB, "metrics_path": "/metrics/detailed",
            "params": {"family": ["queue_coarse_metrics", "queue_consumer_count"]},
            "static_configs": [{"targets": [broker]}],
        }
    )  # fmt: skip
    made: dict[str, object] = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [rules],
        "scrape_configs": scrapes,
    }
    if alertmanagers:
        made["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    return made


def config_file() -> str:
    """deploy/prometheus/prometheus.yml: for `make run` on this machine."""
    local = {name: [f"127.0.0.1:{8000 + n}"] for n, name in enumerate(JOBS)}
    made = config(local, "127.0.0.1:17676", rules="rules/*.yml")
    return HEAD + yaml.safe_dump(made, sort_keys=False, width=120)


def _alert(one: AlertRule) -> dict[str, object]:
    return {
        "alert": one.name, "expr": f"{_grouped(one.value)} {one.wrong}", "for": one.for_,
        "labels": {"severity": one.severity},
        "annotations": {"summary": one.summary, "runbook": f"docs/runbooks/{one.runbook}.md"},
    }  # fmt: skip


def _grouped(value: str) -> str:
    return f"({value})" if " or " in value or " * " in value else value


def _burns() -> list[dict[str, object]]:
    return [
        {
            "alert": "RegenteBudgetBurns", "expr": slos.burning(one, severity),
            "labels": {"severity": severity, "slo": one.name},
            "annotations": {"summary": f"{one.title}: too often not so", "runbook": "docs/slo.md"},
        }
        for one in slos.OBJECTIVES
        for severity in ("page", "ticket")
    ]  # fmt: skip
