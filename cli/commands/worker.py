"""`regente worker`: list, authorise, revoke, remove, mode; what work one takes is in worker_setup.py."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.errors import Usage
from cli.output import JsonOption

MODES = ("run", "pause", "stop", "abort")
WorkerArgument = Annotated[str, typer.Argument(help="Its id.")]

app = typer.Typer(help="Robots: who may work, and how.", no_args_is_help=True)


@app.command("list")
def list_workers(as_json: JsonOption = False) -> None:
    """Every robot that ever asked."""
    with Client() as client:
        found = list(client.pages("workers", 10_000))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["name"],
            one["authorisation"],
            "yes" if one["connected"] else "no",
            "warm" if one.get("warm") else one["status"],
            one["mode"],
            one["run"],
            " ".join(one["tags"]),
            _note(one),
        )
        for one in found
    ]
    columns = ("id", "name", "authorisation", "connected", "status", "mode", "run", "tags", "note")
    output.print_table(columns, rows, "no robot has asked yet; start `python -m regente_agent` on one")


def _note(worker: dict[str, Any]) -> str:
    """What is special about a robot: doubt, quarantine, drain, and what work it takes."""
    doubt, quarantine, drain = (worker.get(name) or {} for name in ("doubt", "quarantine", "drain"))
    notes = [
        f"doubt: {doubt.get('reason')}" if doubt else "",
        f"quarantine until {output.moment(quarantine.get('until'))}: {quarantine.get('reason')}" if quarantine else "",
        f"being drained by {drain.get('by')}" if drain else "",
        f"only for {worker['exclusive']}" if worker.get("exclusive") else "",
        f"only {', '.join(worker['workflows'])}" if worker.get("workflows") is not None else "",
        "by schedule" if worker.get("schedule") else "",
    ]
    return "; ".join(one for one in notes if one)


@app.command()
def authorise(
    worker: WorkerArgument,
    account: Annotated[str | None, typer.Option(help="Whose robot it becomes.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="It works for every account.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a robot connect and take work."""
    if account and shared:
        raise Usage("--account or --shared, not both")
    body: dict[str, Any] = {"account": account} if account or shared else {}
    with Client() as client:
        show_action(client.call("POST", f"workers/{worker}/authorise", json=body), as_json)


@app.command()
def revoke(worker: WorkerArgument, as_json: JsonOption = False) -> None:
    """Take a robot's authorisation away and cut its connection."""
    with Client() as client:
        show_action(client.call("POST", f"workers/{worker}/revoke"), as_json)


@app.command()
def remove(worker: WorkerArgument, as_json: JsonOption = False) -> None:
    """Forget a robot; it may ask again."""
    with Client() as client:
        show_action(client.call("DELETE", f"workers/{worker}"), as_json)


@app.command()
def mode(
    worker: WorkerArgument,
    wanted: Annotated[str, typer.Argument(metavar="MODE", help="run, pause, stop or abort.")],
    as_json: JsonOption = False,
) -> None:
    """Let a robot run, pause, stop after its task, or abort its instruction."""
    if wanted not in MODES:
        raise Usage(f"{wanted} is no mode; one of {', '.join(MODES)}")
    with Client() as client:
        show_action(client.call("POST", f"workers/{worker}/mode", json={"mode": wanted}), as_json)
