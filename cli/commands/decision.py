"""`regente decision`: list, show, answer, link. In ids `/` and `.` mean the same."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.client import Client
from cli.commands.actions import show_action
from cli.output import JsonOption

DecisionArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id: <run>/<seq> or <run>.<seq>.")]

app = typer.Typer(help="Decisions: what scripts ask people.", no_args_is_help=True)


@app.command("list")
def list_decisions(
    state: Annotated[str, typer.Option(help="open, answered, expired, withdrawn, or all.")] = "open",
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Only this workflow.")] = None,
    run: Annotated[str | None, typer.Option(help="Only of this run.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Decisions, newest first; without --state those that wait for an answer."""
    wanted = None if state == "all" else state
    with Client() as client:
        found = list(client.pages("decisions", limit, state=wanted, account=account, workflow=workflow, run=run))
    if as_json:
        output.print_json(found)
        return
    rows = [
        (
            one["id"],
            one["state"],
            one["workflow"],
            output.age(one["asked_at"]),
            output.moment(one["due_at"]),
            " | ".join(one["options"]) or "(any text)",
            one["question"] if one["answer"] is None else f"{one['question']} -> {one['answer']}",
        )
        for one in found
    ]
    columns = ("id", "state", "workflow", "age", "until", "options", "question")
    output.print_table(columns, rows, "no script waits for an answer" if wanted == "open" else "no decision")


@app.command()
def show(decision: DecisionArgument, as_json: JsonOption = False) -> None:
    """One decision."""
    with Client() as client:
        found = client.call("GET", path(decision))
    if as_json:
        output.print_json(found)
        return
    times: dict[str, Any] = {name: output.moment(found[name]) for name in ("asked_at", "due_at", "at") if found[name]}
    output.print_fields({**found, **times})


@app.command()
def answer(
    decision: DecisionArgument,
    text: Annotated[str, typer.Argument(metavar="ANSWER", help="One of its options, or any text if it has none.")],
    as_json: JsonOption = False,
) -> None:
    """Answer; the first answer counts, and the run goes on."""
    with Client() as client:
        show_action(client.call("POST", f"{path(decision)}/answer", json={"answer": text}), as_json)


@app.command()
def link(decision: DecisionArgument, as_json: JsonOption = False) -> None:
    """The link under which whoever has it may answer, without a log-in."""
    with Client() as client:
        found = client.call("GET", f"{path(decision)}/link")
    if as_json:
        output.print_json(found)
    else:
        output.say(found["url"])


def path(decision: str) -> str:
    """Where the API has it."""
    return f"decisions/{decision.replace('/', '.')}"
