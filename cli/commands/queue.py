"""`regente queue`: depths, and why one task waits."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.output import JsonOption

app = typer.Typer(help="The queue: how much waits, and why.", no_args_is_help=True)


@app.command("list")
def list_queue(as_json: JsonOption = False) -> None:
    """How much waits, runs and is held, per workflow."""
    with Client() as client:
        found = list(client.pages("queue", 10_000))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            f"{one['account']}/{one['workflow']}",
            one["priority"],
            one["waiting"],
            one["running"],
            one["held"],
            output.duration(one["oldest_age_s"]),
        )
        for one in found
    ]
    output.print_table(("workflow", "priority", "waiting", "running", "held", "oldest"), rows, "no workflow")


@app.command()
def why(task: Annotated[str, typer.Argument(help="Its id.")], as_json: JsonOption = False) -> None:
    """Why a task is not running."""
    with Client() as client:
        found = client.call("GET", "queue/why", params={"task": task})
    if as_json:
        output.print_json(found)
    else:
        output.say(found["why"])
