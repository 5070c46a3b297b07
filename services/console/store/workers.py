"""Robots: reading; authorising, revoking, removing and their mode go to the scheduler as commands.

Called by: api/workers.py, pages. Owns nothing: workers belong to the scheduler.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from shared.errors import ErrorCode, PermanentError

WORKERS_MAX = 5000
SECRET = {"key_hash": 0, "sessions_gone": 0}
"""What nobody needs to see."""


async def list_workers(context: Context, viewer: Viewer) -> list[dict[str, Any]]:
    """The robots that the viewer sees, by name and id."""

    async def ask_database() -> list[dict[str, Any]]:
        cursor = context.mongo["workers"].find({}, SECRET).limit(WORKERS_MAX)
        return sorted([dict(one) async for one in cursor], key=lambda one: (one.get("name") or "", one["_id"]))

    workers: list[dict[str, Any]] = await context.moment.get("workers", ask_database)
    return [one for one in workers if viewer.sees_worker(one.get("account"))]


async def get_worker(context: Context, viewer: Viewer, worker: str) -> dict[str, Any]:
    """One robot.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["workers"].find_one({"_id": worker}, SECRET)
    if document is None or not viewer.sees_worker(document.get("account")):
        raise PermanentError(ErrorCode.NOT_FOUND, f"robot {worker} does not exist")
    return dict(document)


async def request(
    context: Context, viewer: Viewer, worker: str, action: str, args: dict[str, Any] | None = None
) -> Asked:
    """Ask the scheduler for something about a robot: authorise, revoke, remove or mode.

    Raises: PermanentError NOT_FOUND, FORBIDDEN when the robot is shared and the viewer doesn't see all accounts.
    """
    document = await get_worker(context, viewer, worker)
    account = document.get("account")
    if not viewer.sees(account):
        raise PermanentError(ErrorCode.FORBIDDEN, "a shared robot is changed by users of all accounts only")
    return await ask(
        context, viewer, kind=f"worker.{action}", to="scheduler", target=worker, account=account, args=args
    )


async def authorise(context: Context, viewer: Viewer, worker: str, args: dict[str, Any]) -> Asked:
    """Ask for a robot to be authorised; `args` may name its account (none: shared).

    Raises: PermanentError NOT_FOUND (robot or account), FORBIDDEN.
    """
    account = args.get("account")
    if account is not None and not (
        viewer.sees(account) and await context.mongo["accounts"].find_one({"_id": account})
    ):
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    if "account" in args and account is None and not viewer.everywhere:
        raise PermanentError(ErrorCode.FORBIDDEN, "only users of all accounts make a robot a shared one")
    return await request(context, viewer, worker, "authorise", args)
