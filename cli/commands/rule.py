"""`regente rule`: what makes an alert: list, show, put, enable, disable, remove."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.output import JsonOption
from cli.values_file import print_values, read_values

app = typer.Typer(help="Rules: what makes an alert.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="[ACCOUNT/]NAME", help="An account's own, or everybody's.")]
SHOWN_NOT = ("id", "account", "rev", "updated_at", "updated_by")


@app.command("list")
def list_rules(
    account: Annotated[str | None, typer.Option(help="Only this account's own.")] = None, as_json: JsonOption = False
) -> None:
    """The installation's rules, and those of your accounts."""
    with Client() as client:
        found = list(client.pages("rules", 10_000, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (one["id"], "on" if one["enabled"] else "off", one["severity"], f"{one['for_s']:g} s", one["title"])
        for one in sorted(found, key=lambda one: str(one["id"]))
    ]
    output.print_table(("name", "", "severity", "for", "what"), rows, "no rule")


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """One rule, as a file that can be put back."""
    with Client() as client:
        found = client.call("GET", f"rules/{name}")
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
    """Make a rule from a file, or put it in place of what was there; it counts within seconds."""
    with Client() as client:
        _told(client.call("PUT", f"rules/{name}", json=dict(read_values(file))), as_json)


@app.command()
def enable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Let a rule make alerts."""
    _switch(name, True, as_json)


@app.command()
def disable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Let a rule make no alerts; its open ones are resolved."""
    _switch(name, False, as_json)


@app.command()
def remove(name: NameArgument) -> None:
    """Remove a rule; those that every installation has can only be disabled."""
    with Client() as client:
        client.call("DELETE", f"rules/{name}")
    output.say(f"{name} is removed")


def _switch(name: str, enabled: bool, as_json: bool) -> None:
    with Client() as client:
        values = {**_values(client.call("GET", f"rules/{name}")), "enabled": enabled}
        _told(client.call("PUT", f"rules/{name}", json=values), as_json)


def _values(rule: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in rule.items() if field not in SHOWN_NOT}


def _told(rule: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(rule)
    else:
        output.say(f"{rule['id']} is {'on' if rule['enabled'] else 'off'}")
