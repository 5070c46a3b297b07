"""`regente key`: create."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption

app = typer.Typer(help="Partners' keys.", no_args_is_help=True)


@app.callback()
def key() -> None:
    """Partners' keys."""


@app.command()
def create(
    partner: Annotated[str, typer.Option(help="Whose key; the partner is made when it is new.")],
    account: Annotated[str | None, typer.Option(help="The partner's account.")] = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="tasks, results, endpoints; may be given again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key; it is shown this once."""
    with Client() as client:
        wanted = account or client.access.account
        if not wanted:
            raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
        body = {"account": wanted, "partner": partner, "name": name, "scopes": scope or ["tasks", "results"]}
        made = client.call("POST", "keys", json=body)
    if as_json:
        output.print_json(made)
    else:
        output.say(made["key"])
