"""`regente job`: commands that scripts may run on the server (job.run); list, show, set, remove.

Called by: cli/main.py. Registering needs an administrator of all accounts; --account '*' is for all accounts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption
from cli.values_file import account_of, full_name, print_values, read_values

app = typer.Typer(help="Commands that scripts may run on the server.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="[ACCOUNT/]NAME", help="What scripts call it.")]
SHOWN_NOT = ("id", "account", "name", "updated_at", "updated_by")


@app.command("list")
def list_all(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None, as_json: JsonOption = False
) -> None:
    """The registered commands of your accounts."""
    with Client() as client:
        found = list(client.pages("jobs", 10_000, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"], "on" if one["enabled"] else "off", " ".join(one["command"]), f"{one['timeout_s']:g} s",
            output.age(one["updated_at"]), one["updated_by"],
        )
        for one in found
    ]  # fmt: skip
    output.print_table(("name", "", "command", "time", "changed", "by"), rows, "no job")


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """One of them, as a file that can be set again."""
    with Client() as client:
        found = client.call("GET", f"jobs/{quote(full_name(client, name))}")
    if as_json:
        output.print_json(found)
    else:
        print_values({field: value for field, value in found.items() if field not in SHOWN_NOT})


@app.command("set")
def set_one(
    file: Annotated[str, typer.Argument(help="YAML or JSON; - reads standard input.")],
    name: Annotated[str | None, typer.Option("--name", help="Its name; the file's name else.")] = None,
    account: Annotated[str | None, typer.Option("--account", help="Whose scripts may run it; '*': all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Register a command from a file. Such as: {command: [/usr/bin/pdftotext, "-", "-"], timeout_s: 30}"""
    values = read_values(file)
    wanted = name or (Path(file).stem if file != "-" else None)
    if not wanted:
        raise Usage("what is it called? name it with --name")
    with Client() as client:
        done = client.call("PUT", f"jobs/{quote(account_of(client, account))}/{quote(wanted)}", json=values)
    if as_json:
        output.print_json(done)
    else:
        output.say(f"{done['id']} is registered")


@app.command()
def remove(name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove a registered command; scripts that name it fail from now on."""
    with Client() as client:
        full = full_name(client, name)
        client.call("DELETE", f"jobs/{quote(full)}")
    if as_json:
        output.print_json({"id": full, "removed": True})
    else:
        output.say(f"{full} is removed")
