"""`regente logs`: log lines of services and robots, each with whose it is."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Annotated, Any

import typer
from rich.text import Text

from cli import output
from cli.client import Client
from cli.output import JsonOption

FOLLOW_INTERVAL_S = 1.0
OVERLAP_S = 15
"""Read back so far: a robot's lines arrive late when it was offline."""
SEEN_MAX = 20_000
_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    worker: Annotated[str | None, typer.Option(help="Only this robot.")] = None,
    run: Annotated[str | None, typer.Option(help="Only this run.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    service: Annotated[str | None, typer.Option(help="Only this service; agent for robots.")] = None,
    level: Annotated[str | None, typer.Option(help="The least severe: debug, info, warning, error.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many of the newest.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Log lines in order of time; with --json one document a line."""
    query = {"worker": worker, "run": run, "task": task, "service": service, "level": level}
    params: dict[str, Any] = {name: value for name, value in query.items() if value}
    seen: OrderedDict[str, None] = OrderedDict()
    with Client() as client:
        found = client.call("GET", "logs", params={**params, "limit": limit})
        _show(found["items"], seen, as_json)
        while follow:
            time.sleep(FOLLOW_INTERVAL_S)
            after = {"after": found["next"], "overlap_s": OVERLAP_S} if found["next"] else {}
            found = client.call("GET", "logs", params={**params, **after, "limit": 1000})
            _show(found["items"], seen, as_json)


def _show(lines: list[dict[str, Any]], seen: OrderedDict[str, None], as_json: bool) -> None:
    """Print the lines that were not printed yet."""
    for line in lines:
        if line["id"] in seen:
            continue
        seen[line["id"]] = None
        output.print_json_line(line) if as_json else output.stdout().print(_line(line))
    while len(seen) > SEEN_MAX:
        seen.popitem(last=False)


def _line(line: dict[str, Any]) -> Text:
    whose = line["worker"] or line["instance"] or line["service"]
    style = _STYLES.get(line["level"], "")
    text = Text(f"{output.moment(line['at'])} ", style="dim").append(f"{line['level']:<8} ", style=style)
    text.append(f"{whose:<14} ", style="cyan").append(line["event"], style=style)
    for name in ("run", "task", "seq"):
        if line.get(name) is not None:
            text.append(f" {name}={line[name]}", style="dim")
    for name, value in (line.get("fields") or {}).items():
        if value not in ("", None):
            text.append(f" {name}={value}", style="dim")
    return text
