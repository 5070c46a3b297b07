"""`regente task hold|release|front|priority|cancel|abort`: one thing done with some tasks, named by their ids.

Called by: cli/main.py, which adds these to `regente task`. With many tasks that a filter finds: queue_actions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import describe
from cli.errors import Refused, Usage
from cli.output import JsonOption

TasksArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="Their ids.")]
TextOption = Annotated[str, typer.Option("--text", help="Why; shown wherever it waits.")]
LevelOption = Annotated[int | None, typer.Option("--level", min=0, max=5, help="From 0, low, to 5, maximum.")]
InheritOption = Annotated[bool, typer.Option("--inherit", help="The workflow's priority again.")]


def hold(tasks: TasksArgument, text: TextOption = "", as_json: JsonOption = False) -> None:
    """Take tasks out of the queue until they are released."""
    _each(tasks, "hold", {"text": text}, as_json)


def release(tasks: TasksArgument, as_json: JsonOption = False) -> None:
    """Let held tasks go back to the queue."""
    _each(tasks, "release", None, as_json)


def front(tasks: TasksArgument, as_json: JsonOption = False) -> None:
    """Put tasks before all others of their level; the last one named comes first."""
    _each(tasks, "front", None, as_json)


def priority(
    tasks: TasksArgument, level: LevelOption = None, inherit: InheritOption = False, as_json: JsonOption = False
) -> None:
    """Give tasks a priority of their own, or the workflow's again."""
    _each(tasks, "priority", {"priority": wanted_level(level, inherit)}, as_json)


def cancel(tasks: TasksArgument, as_json: JsonOption = False) -> None:
    """Call tasks off; a running one ends at its next instruction."""
    _each(tasks, "cancel", None, as_json)


def abort(tasks: TasksArgument, as_json: JsonOption = False) -> None:
    """Call tasks off now: the instruction in flight is cut, and a run ends for it."""
    _each(tasks, "abort", None, as_json)


def wanted_level(level: int | None, inherit: bool) -> int | None:
    """The priority that was asked for; none: the workflow's.

    Raises: Usage when neither or both were given.
    """
    if (level is None) != inherit:
        raise Usage("which priority? --level 0 to 5, or --inherit for the workflow's")
    return level


def _each(tasks: Sequence[str], action: str, body: dict[str, Any] | None, as_json: bool) -> None:
    """Ask for one task after the other; one that is refused does not keep the others from it."""
    answers: list[dict[str, Any]] = []
    with Client() as client:
        for task in tasks:
            try:
                arguments = {} if body is None else {"json": body}
                answers.append({"task": task, **client.call("POST", f"tasks/{task}/{action}", **arguments)})
            except Refused as error:
                answers.append({"task": task, "command": None, "state": "refused", "reason": str(error)})
    if as_json:
        output.print_json(answers)
    else:
        _report(answers)
    refused = [one for one in answers if one["state"] == "refused"]
    if refused:
        more = f"{len(refused)} of {len(tasks)} were refused" if len(tasks) > 1 else refused[0]["reason"]
        raise Refused(more)


def _report(answers: Sequence[dict[str, Any]]) -> None:
    for one in answers:
        which = f"{one['task']}: " if len(answers) > 1 else ""
        if one["state"] == "refused":
            if which:
                output.complain(f"{which}{one['reason']}")
        else:
            output.say(f"{which}{describe(one)}")
