"""Legal holds: placed and lifted by administrators, kept on record for ever.

Called by: api/holds.py. Owns, by shared/mongo/holds.py: legal_holds. Change also: shared/domain/legal_hold.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo import holds
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.obs.ids import new_id


async def list_holds(
    context: Context, viewer: Viewer, account: str | None, standing: bool, limit: int, cursor: str | None
) -> Listed:
    """Holds, newest first; those that were lifted, too, unless only standing ones are wanted."""
    query = await seen_accounts(context, viewer, account)
    if standing:
        query = {**query, "lifted_at": None}
    return await list_page(context, "legal_holds", query, by="at", limit=limit, cursor=cursor)


async def place_hold(context: Context, viewer: Viewer, account: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Place a hold; from the answer on nothing that it covers is deleted or erased. `going`: tasks that it covers and
    whose deletion had been decided before.

    Raises: PermanentError NOT_FOUND (account), TOO_MANY.
    """
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    hold = {"_id": new_id("hold_"), "account": account, **fields, "by": viewer.name, "at": now()}
    try:
        await holds.place(context.mongo, hold)
    except holds.TooManyHolds:
        text = f"an account has at most {holds.HOLDS_MAX} standing holds; lift one, or hold more at once"
        raise PermanentError(ErrorCode.TOO_MANY, text) from None
    details = {name: value for name, value in fields.items() if value is not None}
    await audit(
        context.mongo, by=viewer.name, action="legal_hold.place", target=hold["_id"], account=account, details=details
    )
    stored = await context.mongo["legal_holds"].find_one({"_id": hold["_id"]})
    return {**dict(stored or hold), "going": await _going(context, account, fields)}


async def lift_hold(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """Lift a hold; it stays on record.

    Raises: PermanentError NOT_FOUND, CONFLICT (it was lifted before).
    """
    hold = found(await context.mongo["legal_holds"].find_one({"_id": id}), viewer, f"legal hold {id}")
    if not await holds.lift(context.mongo, id, by=viewer.name, at=now(), op=new_id("op_")):
        raise PermanentError(ErrorCode.CONFLICT, f"legal hold {id} was lifted before")
    await audit(context.mongo, by=viewer.name, action="legal_hold.lift", target=id, account=hold["account"])
    return dict(await context.mongo["legal_holds"].find_one({"_id": id}) or hold)


async def _going(context: Context, account: str, fields: Mapping[str, Any]) -> int:
    """Tasks under a hold that were marked for deletion before it was placed."""
    names = {"workflow": "workflow", "task": "_id", "reference": "reference"}
    query: dict[str, Any] = {name: fields[field] for field, name in names.items() if fields.get(field) is not None}
    query |= {"account": account, "doomed_at": {"$type": "date"}}
    return int(await context.mongo["archive_tasks"].count_documents(query))
