"""`regente calendar` and `regente portal`: what settings name; list, show, put, remove.

Called by: cli/main.py. Both are the same but for their address and what a row of the list shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption
from cli.values_file import account_of, full_name, print_values, read_values

Row = Callable[[dict[str, Any]], tuple[Any, ...]]
NameArgument = Annotated[str, typer.Argument(metavar="[ACCOUNT/]NAME", help="What settings call it.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Whose; the installation's account else.")]
SHOWN_NOT = ("id", "account", "name", "updated_at", "updated_by")


def named_app(noun: str, path: str, columns: tuple[str, ...], row: Row, example: str) -> typer.Typer:
    """The commands for one kind. path: in the API. example: a file, for the help."""
    app = typer.Typer(help=f"{noun[0].upper()}{noun[1:]}s, which settings name.", no_args_is_help=True)

    @app.command("list", help=f"The {noun}s of your accounts.")
    def list_all(
        account: Annotated[str | None, typer.Option(help="Only this account.")] = None, as_json: JsonOption = False
    ) -> None:
        with Client() as client:
            found = list(client.pages(path, 10_000, account=account))
        if as_json:
            output.print_json(found)
            return
        rows = [(one["id"], *row(one), output.age(one["updated_at"]), one["updated_by"]) for one in found]
        output.print_table(("name", *columns, "changed", "by"), rows, f"no {noun}")

    @app.command(help="One of them, as a file that can be put back.")
    def show(name: NameArgument, as_json: JsonOption = False) -> None:
        with Client() as client:
            found = client.call("GET", f"{path}/{full_name(client, name)}")
        if as_json:
            output.print_json(found)
        else:
            print_values({field: value for field, value in found.items() if field not in SHOWN_NOT})

    @app.command(help=f"Make one from a file, or put it in place of what was there. Such as: {example}")
    def put(
        file: Annotated[str, typer.Argument(help="YAML or JSON; - reads standard input.")],
        name: Annotated[str | None, typer.Option("--name", help="Its name; the file's name else.")] = None,
        account: AccountOption = None,
        as_json: JsonOption = False,
    ) -> None:
        values = read_values(file)
        wanted = name or (Path(file).stem if file != "-" else None)
        if not wanted:
            raise Usage("what is it called? name it with --name")
        with Client() as client:
            done = client.call("PUT", f"{path}/{account_of(client, account)}/{wanted}", json=values)
        if as_json:
            output.print_json(done)
        else:
            output.say(f"{done['id']} is stored")

    @app.command(help="Remove one that nothing names.")
    def remove(name: NameArgument, as_json: JsonOption = False) -> None:
        with Client() as client:
            full = full_name(client, name)
            client.call("DELETE", f"{path}/{full}")
        if as_json:
            output.print_json({"id": full, "removed": True})
        else:
            output.say(f"{full} is removed")

    return app


calendar = named_app(
    "holiday calendar",
    "calendars",
    ("title", "dates"),
    lambda one: (one["title"], len(one["dates"])),
    '{title: Brazil, dates: [{date: "2026-12-25", name: Natal}]}',
)
portal = named_app(
    "portal",
    "portals",
    ("title", "zone", "weekly", "maintenance"),
    lambda one: (one["title"], one["timezone"], len(one["weekly"]), len(one["maintenance"])),
    '{title: Tax office, timezone: America/Sao_Paulo, weekly: [{days: [sun], start: "02:00", end: "05:00"}]}',
)
