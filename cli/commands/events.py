"""`regente events`: what happened that people may want to be told of."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.output import JsonOption


def events(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    kind: Annotated[str | None, typer.Option(help="Such as limit_reached, workflow_held, robot_quarantined.")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or error.")] = None,
    target: Annotated[str | None, typer.Option(help="Only about this workflow, robot, run or task.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Events, newest first: limits, holds, quarantines, timeouts."""
    with Client() as client:
        query = {"account": account, "kind": kind, "severity": severity, "target": target}
        found = list(client.pages("events", limit, **query))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (output.moment(one["at"]), one["severity"], one["kind"], one["account"], one["target"], one["text"])
        for one in found
    ]
    output.print_table(("at", "level", "kind", "account", "target", "what"), rows, "no event")
