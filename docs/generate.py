"""Writes what is generated in the papers: state diagrams, the table of edges, the instruction catalogue, the messages,
the simulation of adaptive waits, the partners' APIs, the default rules of alerts, the metrics, the settings,
Prometheus' rules, Grafana's dashboards.

Called by: `make docs`; tests/architecture fails when what stands in the files is not what this writes. Nothing that
can be generated is written by hand: the code is the source."""

from __future__ import annotations

import ast
import inspect
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

import shared.contracts.messages  # noqa: F401 - registers every kind
from deploy.monitoring import dashboards, rules, slos
from docs import metric_catalogue, pacing_simulation, partner_apis, settings_table
from shared.contracts.catalogue import CATALOGUE, MODULES, SERVER_MODULES, catalogue, stub_source
from shared.contracts.envelope import Envelope, kinds
from shared.contracts.topology import EXCHANGES, control_queue, instructions_queue, replies_queue, service_queues
from shared.domain.alert_rules import DEFAULTS, PARAMS, RuleKind
from shared.domain.alert_state import ALERT
from shared.domain.delivery_state import DELIVERY
from shared.domain.machine import Machine
from shared.domain.notification_state import NOTIFICATION
from shared.domain.run_state import RUN
from shared.domain.task_state import TASK
from shared.domain.worker_state import WORKER

ROOT = Path(__file__).resolve().parents[1]
MACHINES: tuple[Machine[Any], ...] = (TASK, RUN, WORKER, DELIVERY, ALERT, NOTIFICATION)


def generated() -> dict[Path, str]:
    """Every generated file with its text as it should be."""
    architecture = ROOT / "ARCHITECTURE.md"
    text = architecture.read_text(encoding="utf-8")
    text = _between(text, "states", "\n\n".join(_diagram(machine) for machine in MACHINES))
    text = _between(text, "edges", _edges())
    alerts = ROOT / "docs" / "alerts.md"
    rules = _between(alerts.read_text(encoding="utf-8"), "rules", _rules())
    return {
        architecture: text,
        alerts: _between(rules, "params", _params()),
        ROOT / "docs" / "instructions.md": _instructions(),
        ROOT / "docs" / "asyncapi.yaml": _asyncapi(),
        ROOT / "docs" / "adaptive-waits.md": pacing_simulation.page(),
        ROOT / "docs" / "adaptive-waits.svg": pacing_simulation.picture(),
        ROOT / "docs" / "settings.md": settings_table.page(),
        **_monitoring(),
        **{ROOT / "docs" / place: text for place, text in partner_apis.files().items()},
    }


def _monitoring() -> dict[Path, str]:
    """What Prometheus and Grafana are given, and the tables about it."""
    pages = {"metrics": metric_catalogue.table(), "slo": slos.table()}
    pages_text = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in pages}
    prometheus, grafana = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
    return {
        **{ROOT / "docs" / f"{name}.md": _between(pages_text[name], name, table) for name, table in pages.items()},
        prometheus / "prometheus.yml": rules.config_file(),
        prometheus / "rules" / "regente.yml": rules.rules_file(),
        **{grafana / name: text for name, text in dashboards.files().items()},
    }


def main() -> None:
    """Write them."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    partner_apis.remove_stale(ROOT / "docs")


def _between(text: str, name: str, body: str) -> str:
    """Put `body` between the two marks of a generated part."""
    start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{start}\n{body}\n{end}", text)


def _diagram(machine: Machine[Any]) -> str:
    """A state machine as a Mermaid diagram."""
    lines = [f"### {machine.name}", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {machine.initial}"]
    lines += [f"    {before} --> {after}" for before, after in machine.edges]
    lines += [f"    {state} --> [*]" for state in sorted(machine.final())]
    return "\n".join([*lines, "```"])


def _edges() -> str:
    """All edges of all machines with their owners."""
    rows = ["| what | from | to | who | why |", "| --- | --- | --- | --- | --- |"]
    for machine in MACHINES:
        for (before, after), edge in machine.edges.items():
            rows.append(f"| {machine.name} | {before} | {after} | {edge.owner} | {edge.reason} |")
    return "\n".join(rows)


def _rules() -> str:
    """The rules that an installation begins with."""
    rows = ["| rule | severity | for_s | repeat_s | it fires when |", "| --- | --- | --- | --- | --- |"]
    for rule in DEFAULTS:
        members = ast.parse(inspect.getsource(RuleKind)).body[0]
        rows.append(
            f"| [{rule.id}](runbooks/{rule.kind}.md) | {rule.severity} | {rule.for_s:.0f} | {rule.repeat_s:.0f} | "
            f"{_member_docs(members)[rule.kind.name]} |"
        )
    return "\n".join(rows)


def _member_docs(cls: ast.AST) -> dict[str, str]:
    """The text under each member of an enum."""
    body = list(getattr(cls, "body", ()))
    return {
        one.targets[0].id: " ".join(str(text.value.value).split())
        for one, text in pairwise(body)
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
        and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }  # fmt: skip


def _params() -> str:
    """The parameters of each kind, with what they are in the default rule."""
    rows = ["| rule | parameter | default | |", "| --- | --- | --- | --- |"]
    for rule in DEFAULTS:
        for name, field in PARAMS[rule.kind].model_fields.items():
            value = rule.params[name]
            shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
            rows.append(f"| {rule.id} | `{name}` | {shown} | {field.description} |")
    return "\n".join(rows)


def _instructions() -> str:
    """The catalogue for developers of workflows."""
    head = (
        f"# Instructions\n\nGenerated from `shared/contracts/instructions` (catalogue {CATALOGUE}). An `act` is "
        "journalled by the robot before and after; a `read` may be done again. The time is how long the robot works on "
        "it before it gives up; `timeout` is how long it waits for the element. What the server itself does "
        "(`from regente import http, job, mail, secrets`) is journalled in the same way; its time is the whole time, "
        "and `timeout` sets it. What each failure means stands in ADR 14.\n"
    )
    parts = [head]
    for module in (*MODULES, *SERVER_MODULES):
        server = module in SERVER_MODULES
        about = f"{ast.get_docstring(ast.parse(stub_source(module)))}\n\n" if server else ""
        rows = [f"## {'regente' if server else 'robot'}.{module}\n", f"{about}| call | effect | time | |"]
        rows += ["| --- | --- | --- | --- |"]
        for name, instruction in catalogue().items():
            if name.startswith(f"{module}."):
                arguments = ", ".join(p.name if p.required else f"{p.name}?" for p in instruction.parameters)
                facts = f"{instruction.effect} | {instruction.timeout_s:.0f} s | {instruction.title}"
                rows.append(f"| `{name}({arguments})` | {facts} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _asyncapi() -> str:
    """Messages and queues as AsyncAPI 3 (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""
    queues = [*service_queues(), replies_queue("{executor}"), instructions_queue("{worker}"), control_queue("{worker}")]
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": "Regente", "version": "1", "description": "Generated from shared/contracts."},
        "channels": {
            queue.name: {
                "address": queue.name,
                "description": f"Read by {queue.reader}.",
                "x-bindings": [f"{binding.exchange}: {binding.routing_key}" for binding in queue.bindings],
                "x-arguments": dict(queue.arguments),
                "x-dead-letters": queue.dead,
            }
            for queue in queues
        },
        "components": {
            "x-exchanges": {
                exchange.name: {"type": exchange.type, "writers": exchange.writers} for exchange in EXCHANGES
            },
            "messages": {
                name: {"summary": (model.__doc__ or "").strip().split("\n")[0], "payload": model.model_json_schema()}
                for name, model in sorted(kinds().items())
            },
            "schemas": {"Envelope": Envelope.model_json_schema()},
        },
    }
    return yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main()
