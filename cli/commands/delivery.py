"""`regente delivery`: list, show, replay."""

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
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    task: Annotated[str | None, typer.Option(help="Only of this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Deliveries, newest first."""
    with Client() as client:
        found = list(client.pages("deliveries", limit, state=state, endpoint=endpoint, task=task))
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
def show(
    id: Annotated[str, typer.Argument(help="Its id.")],
    body: Annotated[bool, typer.Option("--body", help="Only what is sent, as it is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """One delivery with its attempts."""
    with Client() as client:
        found = client.call("GET", f"deliveries/{id}")
    if as_json:
        output.print_json(found)
        return
    if body:
        output.say(found.get("body") or "")
        return
    for key in ("id", "endpoint", "event", "state", "reason", "webhook_id", "next_at", "created_at", "delivered_at"):
        if found.get(key) is not None:
            output.say(f"{key}: {found[key]}")
    rows = [
        (
            one["at"],
            one.get("status") or "",
            f"{one['duration_s']:.3f} s",
            one.get("error") or "",
            one.get("answer") or "",
        )
        for one in found.get("attempts") or []
    ]
    output.print_table(("at", "status", "took", "wrong", "answer"), rows, "not tried yet")


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Their ids.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Every dead one that matches the options.")] = False,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    event: Annotated[str | None, typer.Option(help="Only of this event.")] = None,
    after: Annotated[str | None, typer.Option(help="Only made at or after: 2027-05-01T00:00:00Z.")] = None,
    before: Annotated[str | None, typer.Option(help="Only made before.")] = None,
    account: Annotated[str | None, typer.Option(help="Whose they are.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Post deliveries again: the same bytes, the same webhook-id."""
    given = {
        "endpoint": endpoint, "workflow": workflow, "event": event, "created_after": after, "created_before": before,
    }  # fmt: skip
    filters = {name: value for name, value in given.items() if value}
    if bool(ids) == dead or (dead and not filters) or (ids and filters):
        raise Usage("give ids, or --dead with --endpoint, --workflow, --event, --after or --before")
    with Client() as client:
        body: dict[str, Any] = {"ids": ids}
        if dead:
            body = {"state": "dead", "account": account or client.access.account, **filters}
        show_action(client.call("POST", "deliveries/replay", json=body), as_json)
