"""`regente user`: add."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated

import typer

from cli import output
from cli.client import Client
from cli.output import JsonOption

app = typer.Typer(help="People who may log in.", no_args_is_help=True)


@app.callback()
def user() -> None:
    """People who may log in."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the user.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "viewer",
    account: Annotated[
        list[str] | None, typer.Option(help="An account that it sees; may be given again; * is all.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a user; without --password-stdin a password is made and shown this once."""
    given = sys.stdin.readline().rstrip("\n") if password_stdin else None
    password = given if given is not None else secrets.token_urlsafe(18)
    with Client() as client:
        accounts = account or ([client.access.account] if client.access.account else ["*"])
        body = {"user": name, "password": password, "role": role, "accounts": accounts}
        made = client.call("POST", "users", json=body)
    if as_json:
        output.print_json({**made, **({} if password_stdin else {"password": password})})
        return
    output.say(f"{name} ({role}) sees {', '.join(accounts)}" + ("" if password_stdin else f"; password: {password}"))
