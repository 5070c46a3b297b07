"""Every metric of the services, read from the code: the table of docs/metrics.md.

Called by: docs/generate.py, tests. A metric is made by `counter`, `gauge` or `histogram` of shared.obs.metrics with its
name, text and labels written out; anything else is refused here, so that the table can't miss one.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("shared", "services")
MAKERS = ("counter", "gauge", "histogram")
DEFINED_IN = Path("shared/obs/metrics.py")


@dataclass(frozen=True, order=True)
class Metric:
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str
    services: tuple[str, ...]
    """Who shows it; `all` for what shared code counts."""


@functools.cache
def metrics() -> tuple[Metric, ...]:
    """All of them, by name."""
    found: dict[str, Metric] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if relative != DEFINED_IN:
                for metric in _of_file(relative):
                    found[metric.name] = metric
    return tuple(sorted(found.values()))


def table() -> str:
    """For docs/metrics.md."""
    rows = ["| metric | kind | labels | by | |", "| --- | --- | --- | --- | --- |"]
    for one in metrics():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {', '.join(one.services)} | {one.about} |")
    return "\n".join(rows)


def _of_file(path: Path) -> Iterator[Metric]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.ImportFrom) and node.module == "shared.obs.metrics" for node in ast.walk(tree)):
        return
    service = path.parts[1] if path.parts[0] == "services" else "all"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
            given = [*node.args, *(word.value for word in node.keywords if word.arg == "labels")]
            try:
                values = [ast.literal_eval(value) for value in given[:3]]
            except ValueError as error:
                raise ValueError(f"{path}:{node.lineno}: name, text and labels of a metric are written out") from error
            name, about, labels = values[0], values[1], tuple(values[2]) if len(values) > 2 else ()
            name = name if name.startswith("regente_") else f"regente_{name}"
            yield Metric(name, node.func.id, labels, about, (service,))
