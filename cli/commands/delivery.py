"""`regente delivery`: list, replay."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.errors import Usage
from cli.output import JsonOption

app = typer.Typer(help="Deliveries: what partners were told.", no_args_is_help=True)


@app.command("list")
def list_deliveries(
    state: Annotated[str | None, typer.Option(help="pending, retrying, delivered or dead.")] = None,
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Deliveries, newest first."""
    with Client() as client:
        found = list(client.pages("deliveries", limit, state=state, task=task))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["state"],
            one["endpoint"],
            one["event"],
            one["attempts_made"],
            output.age(one["created_at"]),
            _last(one),
        )
        for one in found
    ]
    output.print_table(("id", "state", "endpoint", "event", "tries", "age", "last answer"), rows, "no delivery")


def _last(delivery: dict[str, Any]) -> str:
    attempts = delivery.get("attempts") or []
    if not attempts:
        return ""
    last = attempts[-1]
    return str(last.get("error") or last.get("status") or "")


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Their ids.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Every dead one of an endpoint.")] = False,
    endpoint: Annotated[str | None, typer.Option(help="The endpoint, with --dead.")] = None,
    account: Annotated[str | None, typer.Option(help="The endpoint's account.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Post deliveries again: the same bytes, the same webhook-id."""
    if bool(ids) == dead or (dead and not endpoint):
        raise Usage("give ids, or --dead with --endpoint")
    with Client() as client:
        body: dict[str, Any] = {"ids": ids}
        if dead:
            body = {"state": "dead", "endpoint": endpoint, "account": account or client.access.account}
        show_action(client.call("POST", "deliveries/replay", json=body), as_json)
