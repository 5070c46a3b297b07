"""Requests to the services that own the edges: stored, hinted at, and waited for, a moment.

Called by: api and pages, for every action on tasks, runs, robots and deliveries. Survives a crash: a request is a
document in `commands`; its owner finds it by its sweeper when the hint was lost. Change also: ARCHITECTURE.md
(commands), the owners' handlers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from shared.mongo.audit import audit
from shared.runtime.commands import issue, wait


@dataclass(frozen=True)
class Asked:
    """A request and what came of it so far."""

    command: str
    state: str
    """pending, done or refused."""
    reason: str | None


async def ask(
    context: Context,
    viewer: Viewer,
    *,
    kind: str,
    to: str,
    target: str,
    account: str | None,
    args: dict[str, Any] | None = None,
) -> Asked:
    """Ask a service for something, and wait a moment for its answer.

    kind: such as worker.authorise. to: scheduler, executor or delivery. target: id of the document it is about.
    """
    values = dict(args or {})
    command = await issue(context.mongo, context.broker, kind=kind, to=to, target=target, args=values, by=viewer.name)
    details = {"command": command, **{name: value for name, value in values.items() if name != "output"}}
    await audit(context.mongo, by=viewer.name, action=kind, target=target, account=account, details=details)
    document = await wait(context.mongo, command, context.settings.command_wait_s)
    return Asked(command, str(document["state"]), document.get("reason"))
