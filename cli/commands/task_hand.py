"""`regente task add|upload`: tasks handed in as a user, typed or from a file with a preview.

Called by: cli/main.py, which adds these to `regente task`. A partner's own push is `regente task push`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.errors import Refused, Usage
from cli.output import JsonOption
from shared.intake.mapping import typed

UPLOAD_TIMEOUT_S = 120.0
SHOWN = 20
OWN = ("reference", "priority", "not_before", "deadline")
WorkflowOption = Annotated[str, typer.Option("--workflow", "-w", help="What is to be done.")]
AccountOption = Annotated[str | None, typer.Option(help="Whose tasks; the installation's else.")]


def add(
    workflow: WorkflowOption,
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE...", help="Of the input; a.b=x is within a, and field:=... is JSON."),
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Else one is made.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=5, help="Else the workflow's.")] = None,
    not_before: Annotated[str | None, typer.Option(help="2027-01-31T09:00:00-03:00; it does not run before.")] = None,
    deadline: Annotated[str | None, typer.Option(help="It expires when it has not begun by then.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key is the same request.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand one task in."""
    texts, values = _fields(fields or [])
    own = {"reference": reference, "priority": priority, "not_before": not_before, "deadline": deadline}
    with Client() as client:
        whose = _account(client, account)
        made = {**typed(texts, _schema(client, whose, workflow)), **values}
        task = {"input": made, **{name: value for name, value in own.items() if value is not None}}
        body = {"account": whose, "workflow": workflow, "tasks": [task]}
        headers = {"Idempotency-Key": key} if key else {}
        answer = client.call("POST", "tasks", json=body, headers=headers)
    _report(answer, as_json)


def upload(
    file: Annotated[Path, typer.Argument(help="CSV, XLSX, JSON or NDJSON; 16 MB and 10,000 rows at most.")],
    workflow: WorkflowOption,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Which column is which field; else by their names."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="New tasks, although the same file came before.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what would be refused.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Hand in without asking.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand in a file of tasks, after a look at what would be refused."""
    if as_json and not (preview or yes):
        raise Usage("with --json say --preview or --yes: nobody can be asked")
    with Client() as client:
        seen = _upload(client, file, {"account": _account(client, account), "workflow": workflow}, mapping, again)
        if preview:  # it leaves nothing behind
            client.call("DELETE", f"uploads/{seen['id']}")
            _show_preview(seen, as_json)
            return
        good = seen["counts"]["new"] + seen["counts"]["duplicate"]
        if not as_json:
            _show_preview(seen, False)
        if not good:
            client.call("DELETE", f"uploads/{seen['id']}")
            raise Refused("every row is refused")
        if not yes and not typer.confirm(f"Hand in {seen['counts']['new']} tasks?"):
            client.call("DELETE", f"uploads/{seen['id']}")
            output.say("nothing was handed in")
            return
        answer = client.call("POST", f"uploads/{seen['id']}/confirm")
    _report(answer, as_json)
    if seen["counts"]["refused"]:
        raise Refused(f"{seen['counts']['refused']} of {seen['counts']['rows']} rows were refused")


def _upload(
    client: Client, file: Path, form: dict[str, Any], mapping: Sequence[str] | None, again: bool
) -> dict[str, Any]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Usage(f"{file} can't be read: {error.strerror or error}") from error
    if mapping:
        form["mapping"] = json.dumps(_mapping(mapping))
    if again:
        form["again"] = "true"
    return dict(client.call("POST", "uploads", data=form, files={"file": (file.name, data)}, timeout=UPLOAD_TIMEOUT_S))


def _mapping(pairs: Sequence[str]) -> dict[str, Any]:
    """reference=Nota registration=CNPJ, as the API takes it."""
    made: dict[str, Any] = {"input": {}}
    for pair in pairs:
        field, separator, column = pair.partition("=")
        if not separator or not field or not column:
            raise Usage(f"--map wants FIELD=COLUMN, not {pair!r}")
        if field in OWN:
            made[field] = column
        else:
            made["input"][field] = column
    return made


def _fields(pairs: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Texts, whose types the schema says, and values that were given as JSON."""
    texts: dict[str, str] = {}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.rstrip(":"):
            raise Usage(f"a field is FIELD=VALUE, or FIELD:=JSON; not {pair!r}")
        if not name.endswith(":"):
            texts[name] = text
            continue
        try:
            values[name[:-1]] = json.loads(text)
        except ValueError as error:
            raise Usage(f"{name[:-1]}: {text!r} is no JSON: {error}") from error
    return texts, values


def _account(client: Client, given: str | None) -> str:
    wanted = given or client.access.account
    if not wanted:
        raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
    return wanted


def _schema(client: Client, account: str, workflow: str) -> dict[str, Any]:
    """The input's schema; empty where nothing is published: the console says so."""
    number = client.call("GET", f"workflows/{account}/{workflow}").get("current")
    if not number:
        return {}
    return dict(client.call("GET", f"workflows/{account}/{workflow}/versions/{number}")["input"])


def _show_preview(seen: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(seen)
        return
    counts = seen["counts"]
    output.say(
        f"{counts['rows']} rows: {counts['new']} new, {counts['duplicate']} there already, {counts['refused']} refused"
    )
    for fault in seen["faults"][:SHOWN]:
        where = fault["path"].removeprefix("/input/").lstrip("/")
        text = f"{where}: {fault['message']}" if where else fault["message"]
        output.complain(f"{fault['count']} rows, the first is {fault['row']}: {text}")


def _report(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    elif answer["state"] == "pending":
        output.say(f"asked for; not done yet (request {answer['command']}, batch {answer['batch']})")
    else:
        known = answer["duplicates"] or 0
        new = (answer["accepted"] or 0) - known
        output.say(f"{new} accepted" + (f", {known} known before" if known else "") + f" (batch {answer['batch']})")
        if len(answer["tasks"]) == 1:
            output.say(answer["tasks"][0]["id"])
    for one in answer["refused"][:SHOWN]:
        output.complain(f"{one['reference'] or one['index'] + 1}: {one['errors'][0]['message']}")
    if answer["rejected"]:
        raise Refused(f"{answer['rejected']} tasks were refused")
