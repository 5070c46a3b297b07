"""The metrics that the code makes: all in the table, all by Prometheus' conventions."""

from __future__ import annotations

import subprocess
import sys

from docs.generate import ROOT
from docs.metric_catalogue import metrics
from tests.monitoring.conftest import Promtool

SHOW_ALL = """
import importlib, sys
from pathlib import Path
for folder in ("shared", "services"):
    for path in sorted(Path(folder).rglob("*.py")):
        if "shared.obs.metrics import" in path.read_text():
            importlib.import_module(".".join(path.with_suffix("").parts))
from shared.obs.metrics import exposition
sys.stdout.buffer.write(exposition())
"""
BOUNDED = {
    "account", "workflow", "outcome", "state", "kind", "status", "method", "route", "queue", "exchange", "sweeper",
    "part", "module", "name", "code", "what", "why", "reason", "event", "meaning", "severity", "change", "per",
    "member", "server", "standing", "authorisation", "connected", "answer", "hint",
    "taken", "how", "loop",
}  # fmt: skip
"""Labels whose values are few: of the code's own, of an installation's parts, or capped. Never a task, run or robot."""


def test_what_the_code_makes_is_what_the_table_says_and_follows_the_conventions(promtool: Promtool) -> None:
    made = subprocess.run([sys.executable, "-c", SHOW_ALL], cwd=ROOT, capture_output=True, timeout=120, check=True)
    promtool("check", "metrics", given=made.stdout)
    lines = [line.split() for line in made.stdout.decode().splitlines() if line.startswith("# TYPE regente_")]
    assert {line[2]: line[3] for line in lines} == {one.name: one.kind for one in metrics()}


def test_labels_are_bounded() -> None:
    unknown = {one.name: set(one.labels) - BOUNDED for one in metrics() if set(one.labels) - BOUNDED}
    assert not unknown
    canaries = {
        "regente_canary_rounds_total",
        "regente_canary_seconds",
        "regente_canary_last_success_timestamp_seconds",
    }
    """Of two workflows at most, both the product's own."""
    capped = {one.name for one in metrics() if "workflow" in one.labels} - canaries
    assert capped == {
        "regente_tasks_accepted_total", "regente_tasks_finished_total", "regente_task_wait_seconds",
        "regente_task_handling_seconds", "regente_tasks", "regente_task_oldest_age_seconds", "regente_limit_used",
        "regente_limit_max",
    }, "whoever adds one caps it (shared/obs/flow.py, services/alerts/reads/figures.py)"  # fmt: skip
