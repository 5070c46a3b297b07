"""Robots: reading; authorising, revoking, removing and their mode go to the scheduler as commands.

Called by: api/workers.py, pages. Owns nothing: workers belong to the scheduler; here is checked that what a robot is
to have exists.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.named import take_up
from shared.domain.warm import PARKED_QUERY
from shared.errors import ErrorCode, PermanentError

WORKERS_MAX = 5000
SECRET = {"key_hash": 0, "sessions_gone": 0}
"""What nobody needs to see."""


async def list_workers(context: Context, viewer: Viewer) -> list[dict[str, Any]]:
    """The robots that the viewer sees, by name and id."""

    async def ask_database() -> list[dict[str, Any]]:
        cursor = context.mongo["workers"].find({}, SECRET).limit(WORKERS_MAX)
        found = await _with_warm(context, [dict(one) async for one in cursor])
        return sorted(found, key=lambda one: (one.get("name") or "", one["_id"]))

    workers: list[dict[str, Any]] = await context.moment.get("workers", ask_database)
    return [one for one in workers if viewer.sees_worker(one.get("account"))]


async def get_worker(context: Context, viewer: Viewer, worker: str) -> dict[str, Any]:
    """One robot.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["workers"].find_one({"_id": worker}, SECRET)
    if document is None or not viewer.sees_worker(document.get("account")):
        raise PermanentError(ErrorCode.NOT_FOUND, f"robot {worker} does not exist")
    return (await _with_warm(context, [dict(document)]))[0]


async def _with_warm(context: Context, workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same robots, each with `warm`: whether its run stands ready, with nothing in hand."""
    runs = [one["run"] for one in workers if one.get("run")]
    ready: set[str] = set()
    if runs:
        cursor = context.mongo["runs"].find({**PARKED_QUERY, "_id": {"$in": runs}}, {"_id": 1})
        ready = {one["_id"] async for one in cursor}
    return [{**one, "warm": one.get("run") in ready} for one in workers]


async def request(
    context: Context, viewer: Viewer, worker: str, action: str, args: dict[str, Any] | None = None
) -> Asked:
    """Ask the scheduler for something about a robot: authorise, revoke, remove, mode, config, drain or release.

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
    if "account" in args:
        await _check_account(context, viewer, args["account"])
    return await request(context, viewer, worker, "authorise", args)


async def _check_account(context: Context, viewer: Viewer, account: str | None) -> None:
    """Raises: PermanentError NOT_FOUND, FORBIDDEN when the viewer may not give a robot to this account."""
    if account is None and not viewer.everywhere:
        raise PermanentError(ErrorCode.FORBIDDEN, "only users of all accounts make a robot a shared one")
    if account is not None and not (
        viewer.sees(account) and await context.mongo["accounts"].find_one({"_id": account})
    ):
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")


async def configure(context: Context, viewer: Viewer, worker: str, config: dict[str, Any]) -> Asked:
    """Ask for a robot to be set up; what `config` (as WorkerConfig) does not name stays as it is.

    Raises: PermanentError NOT_FOUND (robot or account), FORBIDDEN, INVALID_INPUT (a workflow or calendar that is not
    there, or belongs to another account than the robot).
    """
    if not config:
        raise PermanentError(ErrorCode.INVALID_INPUT, "nothing to change: name at least one field")
    document = await get_worker(context, viewer, worker)
    if "account" in config:
        await _check_account(context, viewer, config["account"])
    account = config["account"] if "account" in config else document.get("account")
    await _check_workflows(context, viewer, account, _named_workflows(document, config))
    if {"account", "schedule"} & set(config):
        await _check_holidays(context, account, {**document, **config}.get("schedule") or {})
    return await request(context, viewer, worker, "config", config)


def _named_workflows(document: dict[str, Any], config: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, workflow) pairs as they will be; those that stay count only when the account changes under them."""
    result = {**document, **config} if "account" in config else config
    named = [("workflows", one) for one in result.get("workflows") or ()]
    return [*named, ("exclusive", result["exclusive"])] if result.get("exclusive") else named


async def _check_workflows(context: Context, viewer: Viewer, account: str | None, named: list[tuple[str, str]]) -> None:
    wanted = sorted({workflow for _, workflow in named})
    found = context.mongo["workflows"].find({"_id": {"$in": wanted}}, {"account": 1})
    owners = {one["_id"]: one["account"] async for one in found}
    for field, workflow in named:
        owner = owners.get(workflow)
        if owner is None or not viewer.sees(owner):
            raise PermanentError(ErrorCode.INVALID_INPUT, f"{field}: workflow {workflow} does not exist")
        if account not in (None, owner):
            raise PermanentError(
                ErrorCode.INVALID_INPUT,
                f"{field}: {workflow} is not of the robot's account {account};"
                " share the robot, or take the workflow out",
            )


async def _check_holidays(context: Context, account: str | None, schedule: dict[str, Any]) -> None:
    if schedule.get("holidays") and account is None:
        raise PermanentError(
            ErrorCode.INVALID_INPUT,
            "schedule.holidays: a shared robot has no account whose calendars they could be; give it an account",
        )
    if account is not None:
        await take_up(context, account, schedule, where="schedule.")
