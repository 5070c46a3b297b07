"""The command `regente`: all its sub-commands, and how it ends.

Called by: the console script `regente`, `python -m cli`. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
Errors are one line on stderr. Change also: README.md (the list of commands).
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.client import CA_FILE
from cli.commands import (
    account,
    alert,
    certs,
    decision,
    delivery,
    doctor,
    document,
    endpoint,
    erasure,
    events,
    evidence,
    hold,
    job,
    key,
    logs,
    named,
    once,
    queue,
    recipient,
    rule,
    run,
    service_users,
    silence,
    source,
    status,
    task,
    task_hand,
    task_steer,
    user,
    watch,
    worker,
    worker_setup,
    workflow,
    workflow_hold,
    workflow_objects,
    workflow_pacing,
)
from cli.errors import CliError
from cli.home import set_home
from cli.output import complain


class Commands(TyperGroup):
    """The commands; an error of ours ends them with one line on stderr and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            complain(str(error))
            raise typer.Exit(error.exit_code) from error


app = typer.Typer(
    name="regente",
    cls=Commands,
    help="Hand in tasks, watch runs, look after robots, publish workflows.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(task.app, name="task")
app.add_typer(run.app, name="run")
app.add_typer(worker.app, name="worker")
app.add_typer(workflow.app, name="workflow")
app.add_typer(evidence.app, name="evidence")
app.add_typer(key.app, name="key")
app.add_typer(user.app, name="user")
app.add_typer(queue.app, name="queue")
app.add_typer(account.app, name="account")
app.add_typer(named.calendar, name="calendar")
app.add_typer(named.portal, name="portal")
app.add_typer(delivery.app, name="delivery")
app.add_typer(endpoint.app, name="endpoint")
app.add_typer(alert.app, name="alert")
app.add_typer(rule.app, name="rule")
app.add_typer(recipient.app, name="recipient")
app.add_typer(silence.app, name="silence")
app.add_typer(hold.app, name="hold")
app.add_typer(erasure.app, name="erasure")
app.add_typer(job.app, name="job")
app.add_typer(source.app, name="source")
app.add_typer(document.app, name="document")
app.add_typer(decision.app, name="decision")
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("events")(events.events)
app.command("watch")(watch.watch)
app.command("doctor")(doctor.doctor)
app.command("certs")(certs.certs)
app.command("service-users")(service_users.service_users)
for steer in (
    task_steer.hold,
    task_steer.release,
    task_steer.front,
    task_steer.priority,
    task_steer.cancel,
    task_steer.abort,
    task_hand.add,
    task_hand.upload,
):
    task.app.command()(steer)
for set_up in (worker_setup.config, worker_setup.drain, worker_setup.release):
    worker.app.command()(set_up)
for change in (
    workflow_hold.hold, workflow_hold.release, workflow_hold.settings, workflow_objects.objects, workflow_pacing.pacing,
):  # fmt: skip
    workflow.app.command()(change)


workflow.app.command()(once.run)


@app.callback()
def options(
    home: Annotated[str | None, typer.Option("--home", help="Where .regente is, instead of REGENTE_HOME.")] = None,
    ca: Annotated[
        str | None, typer.Option("--ca", help="PEM file of authorities to believe, instead of REGENTE_CA_FILE.")
    ] = None,
) -> None:
    """Regente, on the command line."""
    if home is not None:
        set_home(home)
    if ca is not None:
        os.environ[CA_FILE] = ca


def main() -> None:
    """Run the command line and leave with its exit code."""
    app()
