"""`regente workflow run`: a folder's files once on one robot, unpublished, with nothing billed or delivered.

Called by: cli/main.py, which adds this to `regente workflow`. The server goes on when this command is interrupted.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.run import WATCH_INTERVAL_S, follow
from cli.commands.workflow import DirArgument, read_folder
from cli.errors import Refused, Usage
from cli.output import JsonOption

FINAL = {"succeeded", "failed", "cancelled", "expired", "held"}
"""States in which nothing more happens by itself."""


def run(
    directory: DirArgument,
    worker: Annotated[str, typer.Option("--worker", help="The robot's id.")],
    input: Annotated[str, typer.Option("--input", metavar="FILE|JSON", help="The task's input; - is stdin.")] = "{}",
    scenario: Annotated[str | None, typer.Option(help="Else the first one that takes the input.")] = None,
    account: Annotated[str | None, typer.Option(help="Whose secrets it uses; the installation's else.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow it to its end; exit code 1 unless it succeeds.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a folder once on a robot, without publishing it; nothing is billed or delivered."""
    files, value = read_folder(directory), _input(input)
    with Client() as client:
        wanted = account or client.access.account
        if not wanted:
            raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
        body = {"account": wanted, "files": files, "worker": worker, "input": value, "scenario": scenario}
        asked = client.call("POST", "workflows/once", json=body)
        if not watch:
            output.print_json(asked) if as_json else output.say(f"asked for; task {asked['task']}")
            return
        output.note(f"task {asked['task']} (stop it with `regente task abort {asked['task']}`)")
        task = _watch(client, asked, as_json)
    _conclude(task, as_json)


def _input(text: str) -> dict[str, Any]:
    """The input that was given as JSON, in a file, or on stdin.

    Raises: Usage.
    """
    if text == "-":
        text = typer.get_text_stream("stdin").read()
    elif not text.lstrip().startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Usage(f"--input is no JSON object and no file: {error}") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Usage(f"--input is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise Usage("--input must be a JSON object")
    return value


def _watch(client: Client, asked: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """Say why it waits, print its steps as they happen; the task once nothing more happens to it."""
    said: str | None = None
    task = _made(client, asked)
    while task["state"] == "queued":
        if task["why_waiting"] != said:
            said = task["why_waiting"]
            output.note(f"waits: {said}")
        time.sleep(WATCH_INTERVAL_S)
        task = client.call("GET", f"tasks/{task['id']}")
    run = _run_of(client, task)
    if run is not None:
        output.note(f"run {run}")
        follow(client, run, as_json)
    while task["state"] not in FINAL:
        time.sleep(WATCH_INTERVAL_S)
        task = client.call("GET", f"tasks/{task['id']}")
    return dict(task)


def _made(client: Client, asked: dict[str, Any]) -> dict[str, Any]:
    """The task, as soon as the scheduler has made it."""
    while True:
        try:
            return dict(client.call("GET", f"tasks/{asked['task']}"))
        except Refused as error:
            if error.status != 404 or asked["state"] != "pending":
                raise
            time.sleep(WATCH_INTERVAL_S)


def _run_of(client: Client, task: dict[str, Any]) -> str | None:
    """The run that has (or had) the task."""
    held = (task.get("held_by") or {}).get("run")
    runs = [] if held else client.call("GET", "runs", params={"task": task["id"], "limit": 1})["items"]
    return str(held) if held else str(runs[0]["id"]) if runs else None


def _conclude(task: dict[str, Any], as_json: bool) -> None:
    """How it ended, and the exit code that goes with it."""
    if as_json:
        output.print_json_line({"task": task})
    else:
        output.say(task["state"])
        if (task.get("result") or {}).get("output"):
            output.print_json(task["result"]["output"])
    if task["state"] != "succeeded":
        about = task.get("hold") or task.get("error") or {}
        text = str(about.get("text") or about.get("message") or "")
        raise Refused(f"the one-off run is {task['state']}{': ' if text else ''}{text}")
