"""`regente hold`: legal holds: place, list, lift. (A task is held with `regente task hold`.)"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.workflow_replay import wanted_account
from cli.output import JsonOption

app = typer.Typer(help="Legal holds: what must be neither deleted nor erased.", no_args_is_help=True)
AccountOption = Annotated[str | None, typer.Option("--account", help="Whose tasks.")]


@app.command()
def place(
    reason: Annotated[str, typer.Argument(help="Why, and on whose behalf.")],
    account: AccountOption = None,
    workflow: Annotated[str | None, typer.Option(help="Only tasks of this workflow.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    reference: Annotated[str | None, typer.Option(help="Only tasks of this reference.")] = None,
    as_json: JsonOption = False,
) -> None:
    """From its answer on nothing that it covers is archived, deleted or erased."""
    with Client() as client:
        body: dict[str, Any] = {"account": wanted_account(client, account), "reason": reason}
        body |= {"workflow": workflow, "task": task, "reference": reference}
        placed = client.call("POST", "legal-holds", json=body)
    if as_json:
        output.print_json(placed)
        return
    output.say(placed["id"])
    if placed["going"]:
        output.say(f"the deletion of {placed['going']} tasks under it was decided before, and goes on")


@app.command("list")
def list_holds(
    account: AccountOption = None,
    lifted: Annotated[bool, typer.Option("--lifted", help="Also those that were lifted.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Legal holds, newest first."""
    with Client() as client:
        found = list(client.pages("legal-holds", limit, account=account, standing=None if lifted else "true"))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (one["id"], one["account"], _scope(one), one["reason"], one["by"], output.age(one["at"]), one["lifted_by"])
        for one in found
    ]
    output.print_table(("id", "account", "covers", "reason", "by", "age", "lifted by"), rows, "no legal hold")


@app.command()
def lift(id: Annotated[str, typer.Argument(metavar="HOLD", help="Its id.")], as_json: JsonOption = False) -> None:
    """End a hold; it stays on record."""
    with Client() as client:
        lifted = client.call("DELETE", f"legal-holds/{id}")
    if as_json:
        output.print_json(lifted)
    else:
        output.say(f"{id} is lifted")


def _scope(hold: dict[str, Any]) -> str:
    named = [f"{name} {hold[name]}" for name in ("workflow", "task", "reference") if hold.get(name)]
    return ", ".join(named) or "everything"
