"""`regente workflow hold|release|settings`: whether a workflow takes tasks, and how it is run.

Called by: cli/main.py, which adds these to `regente workflow`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.errors import Usage
from cli.output import JsonOption
from cli.values_file import full_name, print_values, read_values

MODES = ("pause", "stop", "abort")
WorkflowArgument = Annotated[str, typer.Argument(metavar="[ACCOUNT/]NAME", help="The workflow.")]


def hold(
    workflow: WorkflowArgument,
    text: Annotated[str, typer.Option("--text", help="Why; shown with all its tasks that wait.")] = "",
    mode: Annotated[
        str, typer.Option(help="Runs at work: pause (go on to their end), stop (finish the task) or abort (end now).")
    ] = "stop",
    as_json: JsonOption = False,
) -> None:
    """Let a workflow take no more tasks until it is released."""
    if mode not in MODES:
        raise Usage(f"{mode} is no mode; one of {', '.join(MODES)}")
    with Client() as client:
        path = f"workflows/{full_name(client, workflow)}/hold"
        show_action(client.call("POST", path, json={"text": text, "mode": mode}), as_json)


def release(workflow: WorkflowArgument, as_json: JsonOption = False) -> None:
    """Let a held workflow take tasks again, whatever it was held for."""
    with Client() as client:
        show_action(client.call("POST", f"workflows/{full_name(client, workflow)}/release"), as_json)


def settings(
    workflow: WorkflowArgument,
    file: Annotated[
        str | None,
        typer.Option("--set", metavar="FILE", help="Change what this YAML or JSON file names; - is stdin."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how a workflow is run, or change it; what the file does not name stays."""
    with Client() as client:
        path = f"workflows/{full_name(client, workflow)}"
        if file is None:
            found = client.call("GET", path)["settings"]
        else:
            found = client.call("PATCH", f"{path}/settings", json=read_values(file))["settings"]
    if as_json:
        output.print_json(found)
    else:
        print_values(found)
