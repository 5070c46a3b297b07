"""Holiday calendars and portals: what settings name.

Owns: collections calendars and portals. Called by: api/calendars.py, api/portals.py, store/workflows.py,
store/publish.py and store/workers.py (whatever names one). Read by: shared.mongo.gates. Settings that name one are
written in a transaction that touches it (`named_at`), and removing one looks for its names in a transaction, too: so
one of the two that meet comes second and sees the other. Change also: section 'Data' of ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.core.settings import NAMING
from services.console.store.context import Context
from services.console.store.listing import found, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo import Session
from shared.mongo.audit import audit
from shared.mongo.guarded import in_transaction
from shared.obs.clock import now

PER_ACCOUNT_MAX = 500
LISTED_MAX = 5000
NAMED_BY_SHOWN = 20


@dataclass(frozen=True)
class Kind:
    """One of the two collections."""

    collection: str
    setting: str
    """The field of settings that names it."""
    noun: str
    command: str
    """What the command line calls it; also the first part of the name in the audit."""


CALENDARS = Kind("calendars", "holidays", "holiday calendar", "calendar")
PORTALS = Kind("portals", "portals", "portal", "portal")
_KINDS = {kind.setting: kind for kind in (CALENDARS, PORTALS)}


async def list_named(context: Context, viewer: Viewer, kind: Kind, account: str | None) -> list[dict[str, Any]]:
    """Those of the accounts that the viewer sees, by account and name."""
    query = await seen_accounts(context, viewer, account)
    cursor = context.mongo[kind.collection].find(query).sort([("account", 1), ("name", 1)]).limit(LISTED_MAX)
    return [dict(one) async for one in cursor]


async def get_named(context: Context, viewer: Viewer, kind: Kind, account: str, name: str) -> dict[str, Any]:
    """One of them.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo[kind.collection].find_one({"_id": f"{account}/{name}"})
    return found(document, viewer, f"{kind.noun} {account}/{name}")


async def put_named(
    context: Context, viewer: Viewer, kind: Kind, account: str, name: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Make one, or put it in place of what was there.

    Raises: PermanentError NOT_FOUND (account), TOO_MANY.
    """
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    id, collection = f"{account}/{name}", context.mongo[kind.collection]
    if (
        await collection.find_one({"_id": id}, {"_id": 1}) is None
        and await collection.count_documents({"account": account}) >= PER_ACCOUNT_MAX
    ):
        raise PermanentError(ErrorCode.TOO_MANY, f"an account has at most {PER_ACCOUNT_MAX} {kind.noun}s")
    document = {**fields, "account": account, "name": name, "updated_at": now(), "updated_by": viewer.name}
    change = {"$set": document, "$setOnInsert": {"schema_version": 1}}
    stored = await collection.find_one_and_update({"_id": id}, change, upsert=True, return_document=True)
    counts = {field: len(value) for field, value in fields.items() if isinstance(value, list)}
    await audit(context.mongo, by=viewer.name, action=f"{kind.command}.put", target=id, account=account, details=counts)
    return dict(stored or {})


async def delete_named(context: Context, viewer: Viewer, kind: Kind, account: str, name: str) -> None:
    """Remove one that nothing names.

    Raises: PermanentError NOT_FOUND, CONFLICT (with the names of the workflows and robots that name it).
    """
    document = await get_named(context, viewer, kind, account, name)

    async def remove(session: Session) -> None:
        users = await _named_by(context, kind, account, name, session)
        if users:
            more = " and more" if len(users) >= NAMED_BY_SHOWN else ""
            raise PermanentError(
                ErrorCode.CONFLICT,
                f"{kind.noun} {account}/{name} is named in the settings of {', '.join(users)}{more};"
                " take it out there first",
            )
        await context.mongo[kind.collection].delete_one({"_id": document["_id"]}, session=session)

    await in_transaction(context.mongo, remove)
    await audit(
        context.mongo, by=viewer.name, action=f"{kind.command}.delete", target=str(document["_id"]), account=account
    )


async def _named_by(context: Context, kind: Kind, account: str, name: str, session: Session) -> list[str]:
    query = {"account": account, f"settings.{kind.setting}": name}
    cursor = context.mongo["workflows"].find(query, {"name": 1}, session=session).sort("name", 1).limit(NAMED_BY_SHOWN)
    users = [f"{account}/{one['name']}" async for one in cursor]
    if kind is CALENDARS:
        robots = {"account": account, "schedule.holidays": name}
        found_robots = context.mongo["workers"].find(robots, {"_id": 1}, session=session).limit(NAMED_BY_SHOWN)
        users += [f"robot {one['_id']}" async for one in found_robots]
    return users[:NAMED_BY_SHOWN]


async def take_up(
    context: Context, account: str, settings: Mapping[str, Any], *, where: str = "", session: Session | None = None
) -> None:
    """See to it that all that settings (or a robot's schedule) name exists, and stays while `session` lasts.

    where: stands before the field in the error, such as 'workflow.yaml: settings.'.
    Raises: PermanentError INVALID_INPUT that says what is missing, and how it is made.
    """
    for setting, collection in NAMING.items():
        for name in settings.get(setting) or ():
            id = f"{account}/{name}"
            if session is None:
                there = await context.mongo[collection].find_one({"_id": id}, {"_id": 1}) is not None
            else:
                change = {"$set": {"named_at": now()}}
                done = await context.mongo[collection].update_one({"_id": id}, change, session=session)
                there = done.matched_count == 1
            if not there:
                kind = _KINDS[setting]
                raise PermanentError(
                    ErrorCode.INVALID_INPUT,
                    f"{where}{setting}: account {account} has no {kind.noun} {name}; make it first"
                    f" (regente {kind.command} put FILE --account {account} --name {name}), or take the name out",
                )
