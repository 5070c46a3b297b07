"""`regente workflow objects`: the named elements of a workflow, and which of their selectors have gone stale.

Called by: cli/main.py, which adds it to `regente workflow`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.workflow_hold import WorkflowArgument
from cli.output import JsonOption
from cli.values_file import full_name


def objects(
    workflow: WorkflowArgument,
    environment: Annotated[
        str | None, typer.Option("--environment", help="Of this one instead of the one that is set; - is none.")
    ] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Only those that somebody should look at.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the objects of the current version: their selectors, how often each matched, and what is stale."""
    with Client() as client:
        path = f"workflows/{full_name(client, workflow)}/objects"
        found = client.call("GET", path, params={"environment": environment} if environment else None)
    if stale:
        found["items"] = [one for one in found["items"] if one["stale"]]
    if as_json:
        output.print_json(found)
        return
    output.note(f"version {found['version'] or '-'}, environment {found['environment'] or '-'}")
    rows = [row for one in found["items"] for row in _rows(one)]
    output.print_table(("object", "stale", "matched", "last", "state", "selector"), rows, "no objects")


def _rows(one: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A row per selector; the object's own facts stand on its first."""
    rows = []
    for index, selector in enumerate(one["selectors"]):
        head = (one["name"], one["reason"] or "") if index == 0 else ("", "")
        rows.append(
            (*head, selector["matched"], output.age(selector["last_at"]), selector["state"], selector["selector"])
        )
    return rows
