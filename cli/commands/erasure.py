"""`regente erasure`: erase one person's data: run, list, show."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.workflow_replay import wanted_account
from cli.errors import Refused, Usage
from cli.output import JsonOption

app = typer.Typer(help="Erase one person's data.", no_args_is_help=True)
AccountOption = Annotated[str | None, typer.Option("--account", help="Whose tasks.")]
ANSWER_TIMEOUT_S = 30.0
POLL_S, WAIT_S = 1.0, 600.0
COUNTED = ("tasks", "deliveries", "results", "evidence", "steps", "unfinished", "on_hold")


@app.command()
def run(
    references: Annotated[list[str] | None, typer.Argument(help="References of tasks.")] = None,
    file: Annotated[str | None, typer.Option("--file", help="References, one a line; - reads standard input.")] = None,
    field: Annotated[str | None, typer.Option(help="A field of the inputs, such as customer.cpf.")] = None,
    value: Annotated[str | None, typer.Option(help="What stands in it; better: - reads standard input.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only tasks of this workflow.")] = None,
    account: AccountOption = None,
    reason: Annotated[str, typer.Option(help="For the record, without personal data.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase input, result, evidence, logs, journal and sent data of the matching tasks. It can't be taken back."""
    match = _match(references, file, field, value)
    if not dry_run and not yes:
        typer.confirm("This can't be taken back. Erase?", abort=True, err=True)
    with Client() as client:
        body = {
            "account": wanted_account(client, account), "match": {**match, "workflow": workflow},
            "dry_run": dry_run, "reason": reason,
        }  # fmt: skip
        found = client.call("POST", "erasures", json=body, timeout=ANSWER_TIMEOUT_S)
        end_s = time.monotonic() + WAIT_S
        while found["state"] in ("pending", "running") and time.monotonic() < end_s:
            time.sleep(POLL_S)
            found = client.call("GET", f"erasures/{found['id']}")
    _show(found, as_json)
    if found["state"] == "incomplete":
        raise Refused("some tasks stay: they have not ended, or a legal hold covers them")


@app.command("list")
def list_erasures(
    account: AccountOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Erasures, newest first."""
    with Client() as client:
        found = list(client.pages("erasures", limit, account=account))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"], one["account"], one["about"], "dry run" if one["dry_run"] else one["state"],
            (one["counts"] or {}).get("tasks"), one["by"], output.age(one["created_at"]),
        )
        for one in found
    ]  # fmt: skip
    output.print_table(("id", "account", "about", "state", "tasks", "by", "age"), rows, "no erasure")


@app.command()
def show(id: Annotated[str, typer.Argument(metavar="ERASURE", help="Its id.")], as_json: JsonOption = False) -> None:
    """One erasure."""
    with Client() as client:
        _show(client.call("GET", f"erasures/{id}"), as_json)


def _match(references: list[str] | None, file: str | None, field: str | None, value: str | None) -> dict[str, Any]:
    named = list(references or [])
    if file is not None:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        named += [line.strip() for line in text.splitlines() if line.strip()]
    if bool(named) == bool(field) or bool(field) != (value is not None):
        raise Usage("name references, or a field with --field and --value")
    if named:
        return {"references": named}
    return {"field": field, "value": sys.stdin.read().strip() if value == "-" else value}


def _show(erasure: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(erasure)
        return
    output.say(f"{erasure['id']}: {erasure['state']}{' (dry run)' if erasure['dry_run'] else ''}; {erasure['about']}")
    counts = erasure["counts"]
    if counts is not None:
        output.print_table(COUNTED, [tuple(counts[name] for name in COUNTED)], "")
