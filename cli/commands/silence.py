"""`regente silence`: of which alerts nobody is to be told for a time: list, make, end."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption

app = typer.Typer(help="Silences: of which alerts nobody is told for a time.", no_args_is_help=True)
FIELDS = ("rule", "kind", "severity", "account", "workflow", "robot", "service", "target")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(s|m|min|h|d)?$")
_MATCHER = re.compile(rf"^({'|'.join(FIELDS)})(!=|=~|=)(.*)$", re.DOTALL)
ForOption = Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 3d; 90d at most.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; for the others.")]


@app.command("list")
def list_silences(
    account: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    ended: Annotated[bool, typer.Option(help="Those that are over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Silences that hold messages back, or will."""
    with Client() as client:
        found = list(client.pages("silences", limit, account=account, ended="true" if ended else None))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["account"] or "(all)",
            " ".join(_shown(matcher) for matcher in one["matchers"]),
            output.moment(one["starts_at"]),
            output.moment(one["ends_at"]),
            one["by"],
            one["reason"],
        )
        for one in found
    ]
    output.print_table(("id", "account", "what", "from", "until", "by", "why"), rows, "no silence")


@app.command()
def make(
    matchers: Annotated[
        list[str], typer.Argument(metavar="MATCHER...", help="rule=robot_lost, robot=~02*, severity!=critical: all.")
    ],
    reason: ReasonOption,
    how_long: ForOption = "1h",
    account: Annotated[str | None, typer.Option(help="Only alerts of it; none: of all accounts.")] = None,
    starts_at: Annotated[str | None, typer.Option("--from", help="2027-01-31T22:00:00+00:00; none: now.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold messages back; what is still wrong at the end is told then."""
    body = {
        "account": account, "matchers": [matcher_of(one) for one in matchers], "starts_at": starts_at,
        "for_s": seconds_of(how_long), "reason": reason,
    }  # fmt: skip
    with Client() as client:
        show_made(client.call("POST", "silences", json=body), as_json)


@app.command()
def end(
    id: Annotated[str, typer.Argument(metavar="SILENCE", help="Its id.")],
    as_json: JsonOption = False,
) -> None:
    """End a silence now."""
    with Client() as client:
        ended = client.call("POST", f"silences/{id}/end")
    if as_json:
        output.print_json(ended)
    else:
        output.say(f"{ended['id']} is over")


def seconds_of(text: str) -> float:
    """A duration as people write it: 90, 90s, 30m, 2h, 3d.

    Raises: Usage.
    """
    found = _DURATION.match(text.strip())
    if found is None:
        raise Usage(f"{text!r} is no time such as 30m, 2h or 3d")
    return float(found[1]) * _UNITS[found[2] or "s"]


def matcher_of(text: str) -> dict[str, str]:
    """A matcher as people write it: field=value, field!=value, or field=~pattern.

    Raises: Usage.
    """
    found = _MATCHER.match(text)
    if found is None:
        raise Usage(f"{text!r} is no matcher such as rule=robot_lost; fields: {', '.join(FIELDS)}")
    return {"field": found[1], "op": {"=": "eq", "!=": "ne", "=~": "glob"}[found[2]], "value": found[3]}


def show_made(made: dict[str, Any], as_json: bool) -> None:
    """A silence that was made."""
    if as_json:
        output.print_json(made)
    else:
        output.say(f"{made['id']} until {output.moment(made['ends_at'])}")


def _shown(matcher: dict[str, str]) -> str:
    sign = {"eq": "=", "ne": "!=", "glob": "=~"}.get(matcher["op"], matcher["op"])
    return f"{matcher['field']}{sign}{matcher['value']}"
