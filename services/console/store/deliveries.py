"""Deliveries: reading; a replay goes to the delivery service as a command.

Called by: api/deliveries.py, pages. Owns nothing: deliveries belong to the delivery service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.endpoints import get_endpoint
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.domain.delivery_state import DeliveryState
from shared.errors import ErrorCode, PermanentError


async def list_deliveries(
    context: Context,
    viewer: Viewer,
    *,
    account: str | None = None,
    state: DeliveryState | None = None,
    endpoint: str | None = None,
    task: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listed:
    """Deliveries without their bodies, newest first."""
    query = await seen_accounts(context, viewer, account)
    wanted = {"state": state.value if state else None, "endpoint": endpoint, "task": task}
    query.update({name: value for name, value in wanted.items() if value is not None})
    return await list_page(
        context, "deliveries", query, by="created_at", limit=limit, cursor=cursor, projection={"body": 0}
    )


async def replay_ids(context: Context, viewer: Viewer, ids: list[str]) -> Asked:
    """Ask for deliveries to be posted again, by id.

    Raises: PermanentError NOT_FOUND when one of them does not exist for this viewer.
    """
    cursor = context.mongo["deliveries"].find({"_id": {"$in": ids}}, {"account": 1})
    accounts = {str(one["_id"]): str(one["account"]) async for one in cursor}
    missing = [one for one in ids if one not in accounts or not viewer.sees(accounts[one])]
    if missing:
        raise PermanentError(ErrorCode.NOT_FOUND, f"delivery {missing[0]} does not exist")
    account = next(iter(accounts.values())) if len(set(accounts.values())) == 1 else None
    target = ids[0] if len(ids) == 1 else ""
    return await ask(
        context, viewer, kind="delivery.replay", to="delivery", target=target, account=account, args={"ids": ids}
    )


async def get_delivery(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """One delivery, with its bytes.

    Raises: PermanentError NOT_FOUND.
    """
    return found(await context.mongo["deliveries"].find_one({"_id": id}), viewer, f"delivery {id}")


async def replay_dead(context: Context, viewer: Viewer, account: str, filters: Mapping[str, str]) -> Asked:
    """Ask for the dead deliveries of an account that match to be posted again.

    Raises: PermanentError NOT_FOUND: no such account for this viewer, or no such endpoint in it.
    """
    target = account
    if not viewer.sees(account):
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    if "endpoint" in filters:
        target = str((await get_endpoint(context, viewer, account, filters["endpoint"]))["_id"])
    args = {"state": DeliveryState.DEAD.value, "account": account, **filters}
    return await ask(context, viewer, kind="delivery.replay", to="delivery", target=target, account=account, args=args)
