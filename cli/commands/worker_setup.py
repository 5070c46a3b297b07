"""`regente worker config|drain|release`: what work a robot takes, and getting it out of the way.

Called by: cli/main.py, which adds these to `regente worker`.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.errors import Refused, Usage
from cli.output import JsonOption
from cli.values_file import full_name, read_values

POLL_S = 0.5
WorkerArgument = Annotated[str, typer.Argument(help="Its id.")]


def config(
    worker: WorkerArgument,
    account: Annotated[str | None, typer.Option(help="It works for this account only.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="It works for every account.")] = False,
    workflow: Annotated[
        list[str] | None, typer.Option("--workflow", "-w", help="Only these, as account/name; may be given again.")
    ] = None,
    any_workflow: Annotated[bool, typer.Option("--any-workflow", help="Every workflow.")] = False,
    exclusive: Annotated[str | None, typer.Option(help="Exclusive mode: this workflow, as account/name.")] = None,
    no_exclusive: Annotated[bool, typer.Option("--no-exclusive", help="No exclusive mode.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="All that it has; may be given again.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="It has none.")] = False,
    schedule: Annotated[str | None, typer.Option(metavar="FILE", help="When it may work, YAML or JSON.")] = None,
    no_schedule: Annotated[bool, typer.Option("--no-schedule", help="It may always work.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what work a robot takes; what is not named stays as it is."""
    with Client() as client:
        workflows = [full_name(client, one, account) for one in workflow] if workflow else None
        only = full_name(client, exclusive, account) if exclusive else None
        given = {
            "account": _choice("account", account, "shared", shared),
            "workflows": _choice("workflow", workflows, "any-workflow", any_workflow),
            "exclusive": _choice("exclusive", only, "no-exclusive", no_exclusive),
            "tags": _choice("tag", tag, "no-tags", no_tags, empty=[]),
            "schedule": _choice("schedule", read_values(schedule) if schedule else None, "no-schedule", no_schedule),
        }
        body = {name: value[0] for name, value in given.items() if value}
        if not body:
            raise Usage("nothing to change: name at least one option")
        show_action(client.call("POST", f"workers/{worker}/config", json=body), as_json)


def _choice(name: str, value: Any, no: str, none: bool, empty: Any = None) -> tuple[Any, ...]:
    """What an option and its opposite say, in a tuple; an empty one when neither was given."""
    if value and none:
        raise Usage(f"--{name} or --{no}, not both")
    if none:
        return (empty,)
    return (value,) if value else ()


def drain(
    worker: WorkerArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has nothing in hand any more.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a robot finish the run in hand and then stop; `regente worker mode ID run` brings it back."""
    with Client() as client:
        answer = client.call("POST", f"workers/{worker}/drain")
        if wait:
            _wait_drained(client, worker)
    if not wait or as_json:
        show_action(answer, as_json)
    else:
        output.say("drained: it has nothing in hand")


def _wait_drained(client: Client, worker: str) -> None:
    """Raises: Refused when somebody let it run again meanwhile."""
    said, drained = "", False
    while True:
        found = client.call("GET", f"workers/{worker}")
        if found["mode"] == "stop" and not found["run"]:
            return
        drained = drained or bool(found["drain"])
        if drained and not found["drain"] and found["mode"] != "stop":
            raise Refused(f"{worker} is not being drained any more: its mode is {found['mode']}")
        text = f"it finishes {found['run']}" if found["run"] else "it is asked to stop"
        if text != said:
            output.note(text)
            said = text
        time.sleep(POLL_S)


def release(worker: WorkerArgument, as_json: JsonOption = False) -> None:
    """End a robot's quarantine."""
    with Client() as client:
        show_action(client.call("POST", f"workers/{worker}/release"), as_json)
