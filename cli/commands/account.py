"""`regente account`: list, settings."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.errors import Refused
from cli.output import JsonOption
from cli.values_file import print_values, read_values

app = typer.Typer(help="Accounts, and how their work is run as a whole.", no_args_is_help=True)


@app.command("list")
def list_accounts(as_json: JsonOption = False) -> None:
    """The accounts that you see."""
    with Client() as client:
        found = list(client.pages("accounts", 10_000))
    if as_json:
        output.print_json(found)
        return
    rows = [(one["name"], one["title"], one["settings"]["runs"], one["settings"]["weight"]) for one in found]
    output.print_table(("name", "title", "runs at once", "weight"), rows, "no account")


@app.command()
def settings(
    name: Annotated[str, typer.Argument(help="The account.")],
    file: Annotated[
        str | None,
        typer.Option("--set", metavar="FILE", help="Change what this YAML or JSON file names; - is stdin."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how an account's work is run, or change it; what the file does not name stays."""
    with Client() as client:
        if file is not None:
            found = client.call("PATCH", f"accounts/{name}/settings", json=read_values(file))["settings"]
        else:
            known = {one["name"]: one["settings"] for one in client.pages("accounts", 10_000)}
            if name not in known:
                raise Refused(f"account {name} does not exist")
            found = known[name]
    if as_json:
        output.print_json(found)
    else:
        print_values(found)
