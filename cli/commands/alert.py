"""`regente alert`: what is wrong, and who looks at it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.commands.silence import ForOption, ReasonOption, seconds_of, show_made
from cli.output import JsonOption

app = typer.Typer(help="Alerts: what is wrong, and who looks at it.", no_args_is_help=True)
IdArgument = Annotated[str, typer.Argument(metavar="ALERT", help="Its id.")]


@app.command("list")
def list_alerts(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    state: Annotated[str | None, typer.Option(help="pending, firing or resolved.")] = "firing",
    everything: Annotated[bool, typer.Option("--all", help="In any state.")] = False,
    rule: Annotated[str | None, typer.Option(help="Only by this rule.")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning, error or critical.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Alerts, the newest first: those that fire, unless you ask for others."""
    with Client() as client:
        query = {"account": account, "state": None if everything else state, "rule": rule, "severity": severity}
        found = list(client.pages("alerts", limit, **query))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["severity"],
            one["state"],
            output.age(one["since"]),
            (one["acked"] or {}).get("by"),
            one["text"],
        )
        for one in found
    ]
    output.print_table(("id", "severity", "state", "since", "looked at by", "what"), rows, "no alert")


@app.command()
def show(id: IdArgument, as_json: JsonOption = False) -> None:
    """One alert with its facts, who looks at it, and who was told."""
    with Client() as client:
        found = client.call("GET", f"alerts/{id}")
        told = [] if as_json else client.call("GET", f"alerts/{id}/told")["items"]
    if as_json:
        output.print_json(found)
        return
    output.say(f"{found['severity']} {found['state']}: {found['text']}")
    output.say(f"rule {found['rule']}, about {found['target']}, since {output.moment(found['since'])}")
    for name, value in found["facts"].items():
        output.say(f"  {name}: {value}")
    if found["acked"]:
        output.say(f"{found['acked']['by']} looks at it: {found['acked']['note']}")
    if found["silenced_until"]:
        output.say(f"silenced until {output.moment(found['silenced_until'])}")
    for one in told:
        output.say(f"{output.moment(one['opened_at'])} {one['recipient']} by {one['kind']}: {_became(one)}")


@app.command()
def ack(
    id: IdArgument,
    note: Annotated[str | None, typer.Option(help="What is being done about it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say that you look at it."""
    with Client() as client:
        show_action(client.call("POST", f"alerts/{id}/ack", json={"note": note}), as_json)


@app.command()
def unack(id: IdArgument, as_json: JsonOption = False) -> None:
    """Say that nobody looks at it any more."""
    with Client() as client:
        show_action(client.call("POST", f"alerts/{id}/unack"), as_json)


@app.command()
def silence(
    id: IdArgument,
    reason: ReasonOption,
    how_long: ForOption = "1h",
    whole_rule: Annotated[
        bool, typer.Option(help="All that its rule finds in its account, not only its target.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let nobody be told of it for a time, also when it comes again."""
    body = {"for_s": seconds_of(how_long), "reason": reason, "whole_rule": whole_rule}
    with Client() as client:
        show_made(client.call("POST", f"alerts/{id}/silence", json=body), as_json)


def _became(told: dict[str, Any]) -> str:
    """What a message says of the alert, and what became of it."""
    what = ", ".join(told["what"])
    return f"{what}: {told['state']}{': ' + told['reason'] if told['reason'] else ''}"
