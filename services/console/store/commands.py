"""Requests to the services that own the edges: stored, hinted at, and waited for, a moment.

Called by: api and pages, for every action on tasks, runs, robots and deliveries. Survives a crash: a request is a
document in `commands`; its owner finds it by its sweeper when the hint was lost. Change also: ARCHITECTURE.md
(commands), the owners' handlers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from shared.mongo.audit import audit
from shared.runtime.commands import issue, wait

NOT_AUDITED = frozenset({"output", "input", "files", "tasks"})
"""Arguments that stand in the request only: they may be large."""


@dataclass(frozen=True)
class Asked:
    """A request and what came of it so far."""

    command: str
    state: str
    """pending, done or refused."""
    reason: str | None
    progress: Mapping[str, Any] | None = None
    """What its owner noted on it."""


async def ask(
    context: Context,
    viewer: Viewer,
    *,
    kind: str,
    to: str,
    target: str,
    account: str | None,
    args: dict[str, Any] | None = None,
    wait_s: float | None = None,
    id: str | None = None,
) -> Asked:
    """Ask a service for something, and wait a moment for its answer.

    kind: such as worker.authorise. to: scheduler, executor or delivery. target: id of the document it is about.
    wait_s: how long the moment is, seconds; none: as the settings say. id: of the request, when asking again is to be
    the same request.
    """
    return await ask_as(
        context, viewer.name, kind=kind, to=to, target=target, account=account, args=args, wait_s=wait_s, id=id
    )


async def ask_as(
    context: Context,
    by: str,
    *,
    kind: str,
    to: str,
    target: str,
    account: str | None,
    args: dict[str, Any] | None = None,
    details: dict[str, Any] | None = None,
    wait_s: float | None = None,
    id: str | None = None,
) -> Asked:
    """As ask, in the name of `by`, for who has a link instead of a log-in. details: more for the audit entry."""
    values = dict(args or {})
    command = await issue(context.mongo, context.broker, kind=kind, to=to, target=target, args=values, by=by, id=id)
    shown = {name: value for name, value in values.items() if name not in NOT_AUDITED}
    noted = {"command": command, **shown, **(details or {})}
    await audit(context.mongo, by=by, action=kind, target=target, account=account, details=noted)
    waited_s = context.settings.command_wait_s if wait_s is None else wait_s
    document = await wait(context.mongo, command, waited_s)
    return Asked(command, str(document["state"]), document.get("reason"), document.get("progress"))
