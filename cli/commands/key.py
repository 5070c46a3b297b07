"""`regente key`: create, list, rotate, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.errors import Usage
from cli.output import JsonOption

KeyArgument = Annotated[str, typer.Argument(help="Its id: the part of the key between the underscores.")]

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
    expires_days: Annotated[float | None, typer.Option(help="It becomes worthless after so many days.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Where it may be used from, such as 203.0.113.0/24; may be given again.")
    ] = None,
    requests_per_min: Annotated[int | None, typer.Option(help="Requests that it may send a minute.")] = None,
    tasks_per_min: Annotated[int | None, typer.Option(help="Tasks that it may push a minute.")] = None,
    signing: Annotated[bool, typer.Option("--signing", help="With a secret that signs requests.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key; it is shown this once."""
    with Client() as client:
        wanted = account or client.access.account
        if not wanted:
            raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
        body: dict[str, Any] = {
            "account": wanted,
            "partner": partner,
            "name": name,
            "scopes": scope or ["tasks", "results"],
            "expires_at": _in_days(expires_days),
            "networks": network or [],
            "limits": {"requests_per_min": requests_per_min, "tasks_per_min": tasks_per_min},
            "signing": signing,
        }
        made = client.call("POST", "keys", json=body)
    _show(made, as_json=as_json)


@app.command("list")
def list_keys(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Keys, the newest first, without what is secret."""
    with Client() as client:
        found = list(client.pages("keys", 10_000, **({"account": account} if account else {})))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["account"],
            one["partner"],
            one["name"],
            " ".join(one["scopes"]),
            _state(one),
            output.moment(one["expires_at"]),
            output.moment(one["last_used_at"]),
            " ".join(one["networks"]),
        )
        for one in found
    ]
    columns = ("id", "account", "partner", "name", "scopes", "state", "expires", "last used", "networks")
    output.print_table(columns, rows, "no keys")


@app.command()
def rotate(
    id: KeyArgument,
    overlap_hours: Annotated[float, typer.Option(help="How long the old key stays good.")] = 24,
    expires_days: Annotated[float | None, typer.Option(help="The new one is worthless after so many days.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key in place of another, on the same terms; it is shown this once."""
    body = {"overlap_hours": overlap_hours, "expires_at": _in_days(expires_days)}
    with Client() as client:
        made = client.call("POST", f"keys/{id}/rotate", json=body)
    _show(made, as_json=as_json)
    if not as_json:
        output.note(f"the old key works until {output.moment(made['old_expires_at'])}")


@app.command()
def revoke(id: KeyArgument) -> None:
    """Make a key worthless, within ten seconds everywhere."""
    with Client() as client:
        client.call("DELETE", f"keys/{id}")
    output.note(f"{id} is worthless now")


def _show(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(made)
        return
    output.say(made["key"])
    if made.get("signing_secret"):
        output.say(made["signing_secret"])


def _in_days(days: float | None) -> str | None:
    return None if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()


def _state(one: dict[str, Any]) -> str:
    if one["revoked_at"]:
        return "revoked"
    if one["expires_at"] and datetime.fromisoformat(one["expires_at"]) <= datetime.now(UTC):
        return "expired"
    return "replaced" if one["replaced_by"] else "good"
