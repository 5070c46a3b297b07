"""`regente queue hold|release|front|priority|cancel`: one thing done with all tasks that a filter finds.

Called by: cli/commands/queue.py adds these. The request is kept by the installation and goes on without this program;
`regente queue actions` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.task_steer import InheritOption, LevelOption, TextOption, wanted_level
from cli.errors import Refused, Usage
from cli.output import JsonOption
from cli.values_file import account_of

POLL_S = 0.5
COUNTED_MAX = 10_000

AccountOption = Annotated[str | None, typer.Option("--account", help="Whose tasks; the installation's account else.")]
WorkflowOption = Annotated[str | None, typer.Option("--workflow", "-w", help="Only of this workflow.")]
StateOption = Annotated[str | None, typer.Option("--state", help="Only queued, held or running ones.")]
BatchOption = Annotated[str | None, typer.Option("--batch", help="Only of this push.")]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", min=0, max=5, help="Only with this priority of their own.")
]
ReferenceOption = Annotated[list[str] | None, typer.Option("--reference", help="Only these; may be given again.")]
BeforeOption = Annotated[
    str | None, typer.Option("--created-before", metavar="TIME", help="Only older ones, such as 2026-11-25T14:00.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All tasks of the account, when nothing narrows them.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not count and ask first.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Show how far it is until it is done.")]


def hold(
    account: AccountOption = None,
    workflow: WorkflowOption = None,
    state: StateOption = None,
    batch: BatchOption = None,
    priority: PriorityOption = None,
    reference: ReferenceOption = None,
    before: BeforeOption = None,
    text: TextOption = "",
    everything: AllOption = False,
    yes: YesOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take all matching tasks out of the queue until they are released."""
    narrowed = _narrowed(workflow, state, batch, priority, reference, before)
    _act("hold", account, narrowed, {"text": text}, everything, yes=yes, wait=wait, as_json=as_json)


def release(
    account: AccountOption = None,
    workflow: WorkflowOption = None,
    state: StateOption = None,
    batch: BatchOption = None,
    priority: PriorityOption = None,
    reference: ReferenceOption = None,
    before: BeforeOption = None,
    everything: AllOption = False,
    yes: YesOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let all matching held tasks go back to the queue, whatever they were held for."""
    narrowed = _narrowed(workflow, state, batch, priority, reference, before)
    _act("release", account, narrowed, {}, everything, yes=yes, wait=wait, as_json=as_json)


def front(
    account: AccountOption = None,
    workflow: WorkflowOption = None,
    state: StateOption = None,
    batch: BatchOption = None,
    priority: PriorityOption = None,
    reference: ReferenceOption = None,
    before: BeforeOption = None,
    everything: AllOption = False,
    yes: YesOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put all matching tasks before the others of their level."""
    narrowed = _narrowed(workflow, state, batch, priority, reference, before)
    _act("front", account, narrowed, {}, everything, yes=yes, wait=wait, as_json=as_json)


def priority(
    account: AccountOption = None,
    workflow: WorkflowOption = None,
    state: StateOption = None,
    batch: BatchOption = None,
    priority: PriorityOption = None,
    reference: ReferenceOption = None,
    before: BeforeOption = None,
    level: LevelOption = None,
    inherit: InheritOption = False,
    everything: AllOption = False,
    yes: YesOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give all matching tasks a priority of their own, or the workflow's again."""
    narrowed = _narrowed(workflow, state, batch, priority, reference, before)
    more = {"priority": wanted_level(level, inherit)}
    _act("priority", account, narrowed, more, everything, yes=yes, wait=wait, as_json=as_json)


def cancel(
    account: AccountOption = None,
    workflow: WorkflowOption = None,
    state: StateOption = None,
    batch: BatchOption = None,
    priority: PriorityOption = None,
    reference: ReferenceOption = None,
    before: BeforeOption = None,
    everything: AllOption = False,
    yes: YesOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Call all matching tasks off; running ones end at their next instruction."""
    narrowed = _narrowed(workflow, state, batch, priority, reference, before)
    _act("cancel", account, narrowed, {}, everything, yes=yes, wait=wait, as_json=as_json)


COMMANDS: dict[str, Callable[..., None]] = {
    "hold": hold,
    "release": release,
    "front": front,
    "priority": priority,
    "cancel": cancel,
}


def _narrowed(
    workflow: str | None,
    state: str | None,
    batch: str | None,
    priority: int | None,
    references: list[str] | None,
    before: str | None,
) -> dict[str, Any]:
    named = {
        "workflow": workflow,
        "state": state,
        "batch": batch,
        "priority": priority,
        "references": references or None,
        "created_before": _time(before),
    }
    return {name: value for name, value in named.items() if value is not None}


def _time(text: str | None) -> str | None:
    """A time with its zone: the machine's own when none is named."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError as error:
        raise Usage(f"--created-before: {text} is no time; write it like 2026-11-25T14:00") from error


def _act(
    action: str,
    account: str | None,
    narrowed: dict[str, Any],
    more: dict[str, Any],
    everything: bool,
    *,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> None:
    if not narrowed and not everything:
        raise Usage("with which tasks? narrow them, for example by --workflow, or say --all")
    with Client() as client:
        wanted = {"account": account_of(client, account), **narrowed}
        body = {"action": action, "filter": wanted, "all": everything, **more}
        if not yes:
            _confirm(client, body)
        answer = client.call("POST", "queue/actions", json=body)
        if wait:
            answer = _follow(client, answer)
    if as_json:
        output.print_json(answer)
        return
    output.say(f"{describe_progress(answer)} (request {answer['command']})")


def _confirm(client: Client, body: dict[str, Any]) -> None:
    """Say how many tasks it is about, and ask.

    Raises: Refused when there is none, typer.Abort on a no.
    """
    count = int(client.call("POST", "queue/count", json=body)["count"])
    if count == 0:
        raise Refused("no task matches that this could be done with")
    number = f"{COUNTED_MAX} tasks or more" if count >= COUNTED_MAX else f"{count} task{'s' if count > 1 else ''}"
    which = ", ".join(f"{name} {value}" for name, value in body["filter"].items())
    typer.confirm(f"{body['action']} {number} ({which})?", abort=True, err=True)


def _follow(client: Client, answer: dict[str, Any]) -> dict[str, Any]:
    """Show a request's progress on stderr until it has ended.

    Raises: Refused.
    """
    said = ""
    while True:
        text = describe_progress(answer)
        if answer["state"] == "pending" and text != said:
            output.note(text)
            said = text
        if answer["state"] == "refused":
            raise Refused(answer.get("reason") or "refused")
        if answer["state"] != "pending":
            return answer
        time.sleep(POLL_S)
        answer = client.call("GET", f"queue/actions/{answer['command']}")


def describe_progress(answer: dict[str, Any]) -> str:
    """How far a request is, in words."""
    progress = answer["progress"]
    counts = [f"{progress['done']} done"]
    counts += [f"{progress[name]} {name}" for name in ("skipped", "refused") if progress[name]]
    return ("going on: " if answer["state"] == "pending" else "") + ", ".join(counts)
