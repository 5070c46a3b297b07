"""`regente workflow pacing`: what is learned of a workflow's waits, and how to forget or freeze it.

Called by: cli/main.py, which adds this to `regente workflow`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.commands.workflow_hold import WorkflowArgument
from cli.errors import Usage
from cli.output import JsonOption
from cli.values_file import full_name


def pacing(
    workflow: WorkflowArgument,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what was learned.")] = False,
    freeze: Annotated[bool, typer.Option("--freeze", help="Learn no more; waits go on as they are.")] = False,
    unfreeze: Annotated[bool, typer.Option("--unfreeze", help="Learn again.")] = False,
    place: Annotated[str | None, typer.Option(help="Only this place, as the list shows it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how long a workflow's scripts wait at each place; or forget it, or freeze it."""
    if reset + freeze + unfreeze > 1:
        raise Usage("one of --reset, --freeze and --unfreeze, please")
    with Client() as client:
        path = f"workflows/{full_name(client, workflow)}/pacing"
        if reset:
            show_action(client.call("POST", f"{path}/reset", json={"place": place}), as_json)
        elif freeze or unfreeze:
            show_action(client.call("POST", f"{path}/freeze", json={"place": place, "on": freeze}), as_json)
        else:
            _show(client.call("GET", path), place, as_json)


def _show(found: dict[str, Any], place: str | None, as_json: bool) -> None:
    if place is not None:
        found["places"] = [one for one in found["places"] if one["place"] == place]
    if as_json:
        output.print_json(found)
        return
    state = "frozen" if found["frozen"] else found["mode"]
    output.say(f"{state}; {found['robot_hours']:g} robot hours")
    rows = [
        (
            one["place"], f"{one['pause_s']:g} s", one["trend"], one["samples"], one["failures"],
            "" if one["found_mean_s"] is None else f"{one['found_mean_s']:g} s", one["missed"],
            len(one["robots"]), "yes" if one["frozen"] else "",
        )
        for one in found["places"]
    ]  # fmt: skip
    names = ("place", "pause", "trend", "samples", "failures", "found after", "missed", "robots", "frozen")
    output.print_table(names, rows)
