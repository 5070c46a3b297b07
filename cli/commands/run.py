"""`regente run`: list, show, watch, stop, abort."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.text import Text

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.output import JsonOption

WATCH_INTERVAL_S = 0.7
STEPS_MAX = 100_000
FINAL = {"finished", "aborted"}
RunArgument = Annotated[str, typer.Argument(help="Its id.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the run.")]

app = typer.Typer(help="Runs: what robots do, instruction by instruction.", no_args_is_help=True)


@app.command("list")
def list_runs(
    worker: Annotated[str | None, typer.Option(help="Only this robot.")] = None,
    task: Annotated[str | None, typer.Option(help="Only with this task.")] = None,
    state: Annotated[str | None, typer.Option(help="opened, setup, executing, teardown, finished ...")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Only this workflow.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Runs, newest first."""
    with Client() as client:
        found = list(client.pages("runs", limit, worker=worker, task=task, state=state, workflow=workflow))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["state"],
            one["workflow"],
            one["worker"] or "-",
            len(one["tasks"]),
            output.age(one["opened_at"]),
            _ending(one),
        )
        for one in found
    ]
    output.print_table(("id", "state", "workflow", "robot", "tasks", "age", "end"), rows, "no run")


def _ending(run: dict[str, Any]) -> str:
    end = run.get("end") or {}
    return ": ".join(str(part) for part in (end.get("reason"), end.get("text")) if part)


@app.command()
def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """One run with its instructions."""
    with Client() as client:
        found = client.call("GET", f"runs/{run}")
        steps = list(client.pages(f"runs/{run}/steps", STEPS_MAX))
    if as_json:
        output.print_json({**found, "steps": steps})
        return
    _show_head(found)
    for step in steps:
        output.stdout().print(_line(step))


@app.command()
def watch(run: RunArgument, as_json: JsonOption = False) -> None:
    """Follow a run until it has ended; each instruction is printed when its outcome is known."""
    with Client() as client:
        if not as_json:
            _show_head(client.call("GET", f"runs/{run}"))
        state = follow(client, run, as_json)
    if not as_json:
        output.say(f"{state['state']}  {_ending(state)}")


def follow(client: Client, run: str, as_json: bool) -> dict[str, Any]:
    """Print a run's steps as they happen; the run once it has ended."""
    shown = 0
    while True:
        state: dict[str, Any] = client.call("GET", f"runs/{run}")
        ended = state["state"] in FINAL
        for step in list(client.pages(f"runs/{run}/steps", STEPS_MAX)):
            if step["seq"] <= shown:
                continue
            if not ended and step["kind"] == "instruction" and step["outcome"] is None:
                break
            shown = step["seq"]
            output.print_json_line(step) if as_json else output.stdout().print(_line(step))
        if ended:
            return state
        time.sleep(WATCH_INTERVAL_S)


@app.command()
def stop(run: RunArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """End a run after the task in hand; its other tasks go back to the queue as they were."""
    _end(run, "stop", reason, as_json)


@app.command()
def abort(run: RunArgument, reason: ReasonOption = "", as_json: JsonOption = False) -> None:
    """End a run now: the instruction in flight is cut, the task in hand ends by its policy."""
    _end(run, "abort", reason, as_json)


def _end(run: str, how: str, reason: str, as_json: bool) -> None:
    with Client() as client:
        show_action(client.call("POST", f"runs/{run}/{how}", json={"reason": reason}), as_json)


def _show_head(run: dict[str, Any]) -> None:
    names = ("id", "workflow", "version", "worker", "state", "executor", "epoch")
    output.print_fields({**{name: run.get(name) for name in names}, "opened_at": output.moment(run["opened_at"])})
    if run.get("finished_at"):
        output.print_fields({"finished_at": output.moment(run["finished_at"]), "end": _ending(run)})
    for one in run["tasks"]:
        output.say(f"  {one['task']}  attempt {one['attempt']}  {one['state']}  {one['outcome'] or ''}")


def _line(step: dict[str, Any]) -> Text:
    """One entry of the journal on one line."""
    text = Text(f"{step['seq']:>5}  ", style="dim")
    if step["kind"] != "instruction":
        about = " ".join(str(part) for part in (step["kind"], step["phase"], step["task"], step["text"]) if part)
        return text.append(about, style="bold" if step["kind"] == "phase" else "yellow")
    where = f"{step['script'] or '?'}:{step['line'] or '?'}"
    text.append(f"{where:<16} ", style="dim").append(f"{step['name'] or '?':<18} ")
    text.append_text(output.coloured(step["outcome"])).append(f"  {output.duration(step['duration_s'])}", style="dim")
    if step["commit"]:
        text.append("  commit", style="magenta")
    if step["error"]:
        text.append(f"  {step['error']}", style="red")
    if step["evidence"]:
        text.append(f"  [{len(step['evidence'])} evidence]", style="dim")
    return text
