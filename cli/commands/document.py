"""`regente document`: secrets that scripts name by handles; list, set, remove.

Called by: cli/main.py. A value is read from a file or standard input, never from the command line, which every user
of the machine can read. Certificates are stored over the API."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption
from cli.values_file import account_of

app = typer.Typer(help="Secrets that scripts name by handles; values never come back.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="What scripts call it, such as portal/acme.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Whose; the installation's account else.")]


class Kind(StrEnum):
    """What a document holds."""

    TEXT = "text"
    LOGIN = "login"
    TOTP = "totp"


@app.command("list")
def list_all(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None, as_json: JsonOption = False
) -> None:
    """The documents of your accounts, without their values."""
    with Client() as client:
        found = list(client.pages("documents", 10_000, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [(one["id"], one["kind"], output.age(one["updated_at"]), one["updated_by"]) for one in found]
    output.print_table(("name", "kind", "changed", "by"), rows, "no document")


@app.command("set")
def set_one(
    name: NameArgument,
    kind: Annotated[Kind, typer.Option(help="text: any; login: for http auth; totp: for one-time codes.")] = Kind.TEXT,
    file: Annotated[str, typer.Option("--file", help="Where the value is; - is standard input.")] = "-",
    user: Annotated[str | None, typer.Option(help="The user of a login.")] = None,
    digits: Annotated[int, typer.Option(help="Of one-time codes.")] = 6,
    period: Annotated[int, typer.Option(help="Seconds that a one-time code lasts.")] = 30,
    algorithm: Annotated[str, typer.Option(help="SHA1, SHA256 or SHA512.")] = "SHA1",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a text, a password (with --user) or the base32 secret of one-time codes."""
    value = _read(file)
    body: dict[str, Any] = {"kind": kind.value, "text": value}
    if kind is Kind.LOGIN:
        if not user:
            raise Usage("whose login? name the user with --user")
        body = {"kind": kind.value, "user": user, "password": value}
    elif kind is Kind.TOTP:
        body = {"kind": kind.value, "secret": value, "digits": digits, "period_s": period, "algorithm": algorithm}
    with Client() as client:
        done = client.call("PUT", f"documents/{account_of(client, account)}/{quote(name)}", json=body)
    if as_json:
        output.print_json(done)
    else:
        output.say(f"{done['id']} is stored")


@app.command()
def remove(name: NameArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Remove a document; scripts that name it fail from now on."""
    with Client() as client:
        full = f"{account_of(client, account)}/{name}"
        client.call("DELETE", f"documents/{quote(full)}")
    if as_json:
        output.print_json({"id": full, "removed": True})
    else:
        output.say(f"{full} is removed")


def _read(file: str) -> str:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file} can't be read: {error}") from error
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise Usage("there is no value")
    return value
