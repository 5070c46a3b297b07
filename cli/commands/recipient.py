"""`regente recipient`: who is told of alerts: list, show, put, test, enable, disable, remove."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.output import JsonOption
from cli.values_file import full_name, print_values, read_values

app = typer.Typer(help="Recipients: who is told of alerts.", no_args_is_help=True)
NameArgument = Annotated[
    str, typer.Argument(metavar="[ACCOUNT/]NAME", help="What rules call it; */NAME: the installation's.")
]
SHOWN_NOT = ("id", "account", "name", "updated_at", "updated_by")


@app.command("list")
def list_recipients(
    account: Annotated[str | None, typer.Option(help="Only this account's; *: only the installation's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Recipients, the last changed first."""
    with Client() as client:
        found = list(client.pages("recipients", 10_000, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            "on" if one["enabled"] else "off",
            "default" if one["default"] else "by name",
            ", ".join(f"{way['kind']} {way['address']}" for way in one["channels"]),
            one["title"],
        )
        for one in found
    ]
    output.print_table(("name", "", "told", "by", "title"), rows, "no recipient: whom the settings name is told")


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """One recipient, as a file that can be put back: secrets stay as they are."""
    with Client() as client:
        found = client.call("GET", _path(client, name))
    if as_json:
        output.print_json(found)
    else:
        print_values(_values(found))


@app.command()
def put(
    name: NameArgument,
    file: Annotated[str, typer.Argument(help="YAML or JSON; - reads standard input.")],
    as_json: JsonOption = False,
) -> None:
    """Make a recipient from a file, or put it in place of what was there. Such as: {channels: [{kind: mail, address:
    ops@example.com}]}. A secret that is made for a webhook is shown this once."""
    values = dict(read_values(file))
    with Client() as client:
        _told(client.call("PUT", _path(client, name), json=values), as_json)


@app.command("test")
def try_out(
    name: NameArgument,
    channel: Annotated[str | None, typer.Option(help="Only by this channel: its id, as show --json has it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Have a test message sent, the whole way."""
    with Client() as client:
        show_action(client.call("POST", f"{_path(client, name)}/test", json={"channel": channel}), as_json)


@app.command()
def enable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Tell it of alerts."""
    _switch(name, True, as_json)


@app.command()
def disable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Tell it nothing; messages that wait are given up."""
    _switch(name, False, as_json)


@app.command()
def remove(name: NameArgument) -> None:
    """Remove a recipient; rules that name it tell the default ones from now on."""
    with Client() as client:
        client.call("DELETE", _path(client, name))
        output.say(f"{full_name(client, name)} is removed")


def _switch(name: str, enabled: bool, as_json: bool) -> None:
    with Client() as client:
        path = _path(client, name)
        _told(client.call("PUT", path, json={**_values(client.call("GET", path)), "enabled": enabled}), as_json)


def _path(client: Client, name: str) -> str:
    return f"recipients/{quote(full_name(client, name))}"


def _values(recipient: dict[str, Any]) -> dict[str, Any]:
    """What can be put again; the address of a Slack-style channel is a secret, so it is left as it was stored."""
    channels = [
        {key: value for key, value in way.items() if key != "id" and not (key == "address" and way["kind"] == "slack")}
        for way in recipient["channels"]
    ]
    kept = {field: value for field, value in recipient.items() if field not in SHOWN_NOT and value is not None}
    return {**kept, "channels": channels}


def _told(put: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(put)
        return
    output.say(f"{put['id']} is {'on' if put['enabled'] else 'off'}")
    for channel, secret in put["secrets"].items():
        output.say(f"{channel} signs with {secret}")
