"""`regente endpoint`: list, show, put, rotate, test, remove."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.errors import Refused, Usage
from cli.output import JsonOption

app = typer.Typer(help="Endpoints: where partners are told of outcomes.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="What workflows call it.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Whose it is.")]
TEST_S = 30.0
LOOK_S = 0.3


@app.command("list")
def list_endpoints(
    account: AccountOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Endpoints, newest first, and whether anything gets through."""
    with Client() as client:
        found = list(client.pages("endpoints", limit, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (one["account"], one["name"], one["kind"], one.get("url") or "", ",".join(one.get("events") or ()), _how(one))
        for one in found
    ]
    output.print_table(("account", "name", "kind", "address", "events", "state"), rows, "no endpoint")


@app.command()
def show(name: Name, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """One endpoint with its settings, its public keys and its circuit."""
    with Client() as client:
        found = client.call("GET", f"endpoints/{_of(client, account)}/{name}")
    if as_json:
        output.print_json(found)
        return
    for key, value in found.items():
        if value is not None:
            output.say(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")


@app.command()
def put(
    name: Name,
    url: Annotated[str | None, typer.Option(help="https:// address of a webhook.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="An event; may be given again; none: the workflow's.")] = None,
    signature: Annotated[list[str] | None, typer.Option(help="v1 (HMAC), v1a (ed25519); may be given again.")] = None,
    schedule: Annotated[str | None, typer.Option(help="Waits after failures, seconds: 5,300,1800.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=64, help="Attempts at once.")] = None,
    breaker_failures: Annotated[
        int | None, typer.Option(min=0, help="Failures in a row that open its circuit.")
    ] = None,
    evidence: Annotated[str | None, typer.Option(help="links or inline.")] = None,
    secret_file: Annotated[Path | None, typer.Option(help="A file with whsec_...; none: one is made, or kept.")] = None,
    file: Annotated[Path | None, typer.Option(help="All of it as JSON; options go before it.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make or change an endpoint; what is not given has its default. A secret made here is shown this once."""
    body = _read(file)
    given = {
        "url": url, "events": event or None, "signatures": signature or None, "schedule_s": _waits(schedule),
        "concurrency": concurrency, "breaker_failures": breaker_failures, "evidence": evidence,
        "secret": secret_file.read_text(encoding="utf-8").strip() if secret_file else None,
    }  # fmt: skip
    body |= {key: value for key, value in given.items() if value is not None}
    with Client() as client:
        made = client.call("PUT", f"endpoints/{_of(client, account)}/{name}", json=body)
    _show_keys(made, as_json)


@app.command()
def rotate(
    name: Name,
    overlap: Annotated[int, typer.Option(min=0, max=7 * 86400, help="Seconds that the old one signs, too.")] = 86400,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """A new secret or key; the one before signs beside it for a while. The secret is shown this once."""
    with Client() as client:
        path = f"endpoints/{_of(client, account)}/{name}/rotate"
        made = client.call("POST", path, json={"overlap_s": overlap})
    _show_keys(made, as_json)


@app.command("test")
def try_out(name: Name, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Send a signed test event, and wait for what comes back."""
    with Client() as client:
        asked = client.call("POST", f"endpoints/{_of(client, account)}/{name}/test")
        ended = _awaited(client, asked)
    if as_json:
        output.print_json(ended)
        return
    attempt = (ended.get("attempts") or [{}])[-1]
    if ended["state"] != "delivered":
        raise Refused(f"not delivered: {attempt.get('error') or ended.get('reason') or ended['state']}")
    output.say(f"delivered: {attempt.get('status')} after {attempt.get('duration_s')} s")


@app.command()
def remove(name: Name, account: AccountOption = None) -> None:
    """Remove an endpoint; what waits for it becomes dead, and can be replayed once it exists again."""
    with Client() as client:
        client.call("DELETE", f"endpoints/{_of(client, account)}/{name}")
    output.say("removed")


def _awaited(client: Client, asked: dict[str, Any]) -> dict[str, Any]:
    """The test's delivery when it has ended."""
    end = time.monotonic() + TEST_S
    while time.monotonic() < end:
        if asked.get("reason"):
            found: dict[str, Any] = client.call("GET", f"deliveries/{asked['reason']}")
            if found["state"] in ("delivered", "dead"):
                return found
        elif asked.get("command"):
            raise Refused(f"asked for; delivery has not taken it yet (request {asked['command']})")
        time.sleep(LOOK_S)
    raise Refused(f"no answer within {TEST_S:.0f} s; see: regente delivery show {asked['reason']}")


def _how(endpoint: dict[str, Any]) -> str:
    if not endpoint["enabled"]:
        return f"disabled: {endpoint.get('disabled_reason') or ''}"
    circuit = endpoint.get("circuit") or {}
    return f"down: {circuit.get('reason')}" if circuit.get("open") else "up"


def _show_keys(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(made)
        return
    for text in [made.get("secret"), *(made.get("public_keys") or [])[:1]]:
        if text:
            output.say(text)


def _of(client: Client, account: str | None) -> str:
    wanted = account or client.access.account
    if not wanted:
        raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
    return str(wanted)


def _waits(text: str | None) -> list[float] | None:
    try:
        return [float(one) for one in text.split(",")] if text else None
    except ValueError:
        raise Usage(f"{text!r} is no list of seconds such as 5,300,1800") from None


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Usage(f"{file} can't be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise Usage(f"{file} holds no object")
    return found
