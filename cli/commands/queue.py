"""`regente queue`: depths, limits and holds, why one task waits, and actions on many tasks at once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.queue_actions import COMMANDS, describe_progress
from cli.output import JsonOption

app = typer.Typer(help="The queue: how much waits and why; many tasks at once.", no_args_is_help=True)


@app.command("list")
def list_queue(as_json: JsonOption = False) -> None:
    """How much waits, runs and is held, per workflow, and whether it takes tasks now."""
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
            "yes" if one["open"] else "no",
            ", ".join(f"{limit['used']}/{limit['max']} per {limit['per']}" for limit in one["limits"]),
            "; ".join([one["why"]] if one["why"] else map(_held, one["held_scenarios"])),
        )
        for one in found
    ]
    columns = ("workflow", "priority", "waiting", "running", "held", "oldest", "open", "limits", "why")
    output.print_table(columns, rows, "no workflow")


def _held(circuit: dict[str, Any]) -> str:
    """A scenario that is held while the others of its workflow go on."""
    return f"scenario {circuit['scenario']} is held: {circuit['text']}"


@app.command()
def why(task: Annotated[str, typer.Argument(help="Its id.")], as_json: JsonOption = False) -> None:
    """Why a task is not running, what that is concluded from, and when it may start."""
    with Client() as client:
        found = client.call("GET", "queue/why", params={"task": task})
    if as_json:
        output.print_json(found)
        return
    output.say(found["why"])
    if found["facts"]:
        output.say("\nfacts")
        output.print_fields({f"  {name}": value for name, value in found["facts"].items()})
    if found["forecast"]:
        output.say("\nforecast")
        output.print_fields({f"  {name}": value for name, value in _forecast(found["forecast"]).items()})


def _forecast(forecast: dict[str, Any]) -> dict[str, Any]:
    kept = {True: "kept", False: "missed", None: None}[forecast.get("deadline_kept")]
    return {
        "starts": output.moment(forecast["starts_at"]) if forecast.get("starts_at") else None,
        "ends": output.moment(forecast["ends_at"]) if forecast.get("ends_at") else None,
        "deadline": kept,
        "in words": forecast.get("text"),
    }


@app.command()
def actions(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """What was asked for many tasks at once, newest first, and how far it is."""
    with Client() as client:
        found = list(client.pages("queue/actions", limit, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["command"],
            one["state"],
            one["action"],
            one["by"],
            output.age(one["created_at"]),
            describe_progress(one),
            ", ".join(f"{name} {value}" for name, value in one["filter"].items()),
        )
        for one in found
    ]
    output.print_table(("id", "state", "action", "by", "age", "progress", "filter"), rows, "nothing in 30 days")


for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
