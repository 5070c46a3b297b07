"""A real Prometheus scrapes a real run: no query of any dashboard, and no rule, comes back empty."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.local import parts
from deploy.local.settings import SERVICES, free_ports, read_settings
from deploy.monitoring import rules, slos
from deploy.monitoring.dashboards import DASHBOARDS
from docs.generate import ROOT
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal, tasks

__all__ = ["healthy_portal"]
STOP_S = 10.0
ANSWERED_S = 120.0
VARIABLE = re.compile(r"\$\w+")


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def close(self) -> None:
        """Let go of its connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def values(self, expr: str) -> list[float]:
        """What an expression gives now. Raises: AssertionError when it is wrong."""
        answer = self._http.post("/api/v1/query", data={"query": expr}).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        return [float(one["value"][1]) for one in answer["data"]["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """Its rules with how they fare."""
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def targets(self) -> dict[str, str]:
        """Health of each target, by its address."""
        found = self._http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {one["scrapeUrl"]: one["health"] for one in found}


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Debian's Prometheus with our rules, looking at the running stack every second."""
    folder = tmp_path_factory.mktemp("prometheus")
    programs = parts.prometheus(read_settings().home)
    targets = {name: [f"127.0.0.1:{stack.launcher.settings.ports[name]}"] for name in SERVICES}
    targets["executor"].append(f"127.0.0.1:{stack.kept('executor-2').port}")
    broker = f"127.0.0.1:{stack.launcher.settings.ports['broker_metrics']}"
    pattern = str(ROOT / "deploy" / "prometheus" / "rules" / "*.yml")
    config = rules.config(targets, broker, rules=pattern, interval="1s")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_ports(('prometheus',), start=26000)['prometheus']}"
    command = [
        str(programs / "prometheus"), f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    running = Prometheus(f"http://{address}")
    try:
        stack.until(running.ready, "Prometheus is ready", tell=(folder / "log").read_text)
        yield running
    finally:
        running.close()
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def queries() -> dict[str, str]:
    """Every expression, by where it stands; an alert's is its value, whatever it is compared with."""
    found = {f"record {name}": expr for name, expr in rules.RECORDED.items()}
    found |= {f"alert {one.name}": one.value for one in rules.ALERTS}
    for goal in slos.OBJECTIVES:
        for window in slos.WINDOWS:
            found[f"slo {goal.name} {window}"] = f'{slos.RATIO}{window}{{slo="{goal.name}"}}'
    for path in sorted((ROOT / "deploy" / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}: {panel['title']} {target['refId']}"] = VARIABLE.sub(".*", target["expr"])
    return found


def work(stack: Stack) -> None:
    """Tasks that succeed, one that comes twice, one that is refused; until all is delivered."""
    items = tasks(3)
    ids = list(stack.push(items).values())
    stack.push(items[:1])
    refused = stack.collector.post(
        "/v1/tasks", json={"workflow": "tax-certificate", "tasks": [{"reference": "no-input", "input": {}}]}
    )
    assert refused.json()["rejected"]
    assert stack.until_settled(ids) == ["succeeded"] * 3


def test_no_query_of_a_dashboard_and_no_rule_is_empty(stack: Stack, prometheus: Prometheus) -> None:
    work(stack)
    stack.until(lambda: prometheus.values("regente_tasks_finished_total"), "a first scrape of what was done")
    work(stack)  # rates need a change between two scrapes
    asked = queries()
    assert len(asked) > 100
    empty: dict[str, str] = {}

    def all_answer() -> bool:
        for where, expr in [*(empty or asked).items()]:
            if any(math.isfinite(value) for value in prometheus.values(expr)):
                empty.pop(where, None)
            else:
                empty[where] = expr
        return not empty

    stack.until(all_answer, "every query answers", ANSWERED_S, tell=lambda: json.dumps(empty, indent=1))
    assert len(prometheus.values("part:regente_instruction_part_seconds:p95_5m")) == 3, "server, queue, robot"
    assert {one["health"] for one in prometheus.rules()} == {"ok"}
    targets = prometheus.targets()
    assert set(targets.values()) == {"up"}, targets
    assert len(targets) == len(SERVICES) + 1 + 2


def test_figures_say_what_the_database_says(stack: Stack, prometheus: Prometheus) -> None:
    later = "2099-01-01T00:00:00Z"
    ids = list(stack.push([{**one, "not_before": later} for one in tasks(4)]).values())
    queued = stack.database["tasks"].count_documents({"state": "queued"})
    assert queued >= 4
    waiting = 'sum(regente_tasks{state="queued"})'
    stack.until(lambda: prometheus.values(waiting) == [queued], f"{queued} tasks are shown as queued, once")
    done = stack.database["tasks"].count_documents({"state": "succeeded"})
    assert 0 < sum(prometheus.values('regente_tasks_finished_total{outcome="succeeded"}')) <= done
    for id in ids:
        stack.console._call("POST", f"tasks/{id}/cancel", json={})
    stack.until(lambda: stack.states(ids) == ["cancelled"] * 4, "cancelled")
    stack.until(
        lambda: sum(prometheus.values('regente_tasks_finished_total{outcome="cancelled"}')) >= 4, "they came out"
    )


def test_every_service_speaks_by_the_conventions(stack: Stack) -> None:
    promtool = parts.prometheus(read_settings().home) / "promtool"
    for name in SERVICES:
        text = httpx.get(f"http://127.0.0.1:{stack.launcher.settings.ports[name]}/metrics", timeout=30).content
        checked = subprocess.run([str(promtool), "check", "metrics"], input=text, capture_output=True, check=False)
        assert checked.returncode == 0, (name, checked.stdout, checked.stderr)


def test_a_leader_of_alerts_that_dies_is_followed(stack: Stack, prometheus: Prometheus) -> None:
    began = 'process_start_time_seconds{job="regente-alerts"}'
    stack.until(lambda: prometheus.values("sum(regente_figures_leads)") == [1], "one leads")
    before = prometheus.values(began)
    stack.kill("alerts-1")
    stack.until(lambda: prometheus.values(began) not in (before, []), "a new process is scraped")
    stack.until(lambda: prometheus.values("sum(regente_figures_leads)") == [1], "it leads")
    stack.until(lambda: prometheus.values('sum(regente_mongo_members{state="primary"})') == [1], "it shows figures")


def test_pages_are_what_is_written() -> None:
    """The files that were asked are those that the code makes (the rest is in tests/monitoring)."""
    assert {path.stem for path in Path(ROOT / "deploy" / "grafana").glob("*.json")} == {
        page.uid.removeprefix("regente-") for page in DASHBOARDS
    }
