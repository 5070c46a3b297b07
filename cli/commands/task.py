"""`regente task`: push, show, list, settle; what steers tasks is in task_steer.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.errors import Refused, Usage
from cli.output import JsonOption
from cli.tasks_file import read_tasks

BATCH_TASKS_MAX = 500

app = typer.Typer(help="Tasks: hand them in, look at them, settle them.", no_args_is_help=True)


@app.command()
def push(
    file: Annotated[str, typer.Argument(help="CSV, JSON or NDJSON; - reads standard input.")],
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="What is to be done.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hand tasks in, as the partner whose key is used. The same push twice is one task."""
    named, tasks = read_tasks(_read(file), file)
    wanted = workflow or named
    if not wanted:
        raise Usage("which workflow? name it with --workflow, or in the file")
    if not tasks:
        raise Usage(f"{file} holds no task")
    with Client() as client:
        result = _push(client, wanted, tasks)
    if as_json:
        output.print_json(result)
    else:
        _report(result)
    if result["rejected"]:
        raise Refused(f"{len(result['rejected'])} of {len(tasks)} tasks were refused")


def _read(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except OSError as error:
        raise Usage(f"{file} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Usage(f"{file} is not UTF-8") from error


def _push(client: Client, workflow: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {"workflow": workflow, "batches": [], "accepted": [], "rejected": []}
    for start in range(0, len(tasks), BATCH_TASKS_MAX):
        body = {"workflow": workflow, "tasks": tasks[start : start + BATCH_TASKS_MAX]}
        answer = client.as_partner("collector", "POST", "/v1/tasks", json=body)
        result["batches"].append(answer["batch"])
        for kind in ("accepted", "rejected"):
            result[kind] += [{**one, "index": one["index"] + start} for one in answer[kind]]
    return result


def _report(result: dict[str, Any]) -> None:
    known = sum(1 for one in result["accepted"] if one["duplicate"])
    new = len(result["accepted"]) - known
    output.say(
        f"{new} accepted" + (f", {known} known before" if known else "") + f" (batch {', '.join(result['batches'])})"
    )
    for one in result["rejected"]:
        reasons = "; ".join(_reason(error) for error in one["errors"])
        output.complain(f"task {one['index'] + 1} ({one['reference'] or 'without a reference'}): {reasons}")


def _reason(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    path = error.get("path")
    return f"{path}: {error.get('message')}" if path else str(error.get("message"))


@app.command()
def show(task: Annotated[str, typer.Argument(help="Its id.")], as_json: JsonOption = False) -> None:
    """Everything about one task: where it stands, why it waits, what it gave."""
    with Client() as client:
        found = client.call("GET", f"tasks/{task}")
    if as_json:
        output.print_json(found)
        return
    names = (
        "id",
        "workflow",
        "reference",
        "state",
        "why_waiting",
        "priority",
        "attempts",
        "account",
        "partner",
        "batch",
    )
    output.print_fields({name: found.get(name) for name in names})
    times = {
        name: output.moment(found[name])
        for name in ("created_at", "finished_at", "not_before", "deadline")
        if found.get(name)
    }
    output.print_fields({**times, "input": found["input"], "result": (found.get("result") or {}).get("output")})
    error = found.get("error") or {}
    if error:
        output.print_fields({"error": f"{error.get('kind')}: {error.get('message')}", "line": error.get("line")})
    for one in found["evidence"]:
        output.print_fields({"evidence": f"{one['id']}  {one['name']}  {one['media_type']}  {one['size_bytes']} bytes"})
    for line in found["history"]:
        output.say(f"  {output.moment(line['at'])}  {line['state']:<10} {line['by'] or ''}  {line['reason'] or ''}")


@app.command("list")
def list_tasks(
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Only this workflow.")] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, held, succeeded, failed ...")] = None,
    reference: Annotated[str | None, typer.Option(help="Only this reference.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Tasks, newest first."""
    query = {"workflow": workflow, "state": state, "reference": reference, "batch": batch, "account": account}
    with Client() as client:
        found = list(client.pages("tasks", limit, **query))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["state"],
            one["workflow"],
            one["reference"],
            one["attempts"],
            output.age(one["created_at"]),
            _note(one),
        )
        for one in found
    ]
    output.print_table(("id", "state", "workflow", "reference", "tries", "age", "note"), rows, "no task")


def _note(task: dict[str, Any]) -> str:
    said = task.get("hold") or task.get("error") or {}
    return str(said.get("text") or said.get("message") or "")[:80]


@app.command()
def settle(
    task: Annotated[str, typer.Argument(help="Its id.")],
    outcome: Annotated[str, typer.Option(help="succeeded, failed or again.")],
    note: Annotated[str, typer.Option(help="Why; kept in its history.")] = "",
    result: Annotated[str | None, typer.Option("--output", help="The result as a JSON object, for succeeded.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what became of a held task, or that it shall be done again."""
    body: dict[str, Any] = {"outcome": outcome, "note": note}
    if result is not None:
        body["output"] = _object(result)
    with Client() as client:
        show_action(client.call("POST", f"tasks/{task}/settle", json=body), as_json)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Usage(f"--output is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Usage("--output must be a JSON object")
    return value
