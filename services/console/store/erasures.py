"""Requests to erase one person's data: stored here, carried out by delivery.

Called by: api/erasures.py. Owns: collection erasures (inserts). The criteria are personal data themselves: they are
sealed, removed by delivery when the erasure has ended, and neither audited nor shown; what stays is a hash of them
under a key of this installation, by which a request can be recognised again, and nothing else. Change also:
services/delivery/keeping/erasing.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.mongo.guarded import insert_once
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id

PURPOSE = "erasure"
WAIT_S = 10.0
POLL_S = 0.2
ENDED = ("done", "incomplete")
HIDDEN = {"criteria": 0}
WAITING_MAX = 100
"""Requests of one account that have not ended."""


async def ask(
    context: Context, viewer: Viewer, account: str, criteria: str, *, about: str, dry_run: bool, reason: str
) -> dict[str, Any]:
    """Ask for an erasure (or what one would do), and wait up to WAIT_S seconds for its end.

    criteria: their canonical text. about: what they name, without values.
    Raises: PermanentError NOT_FOUND (account), TOO_MANY.
    """
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    query = {"account": account, "state": {"$nin": list(ENDED)}}
    if await context.mongo["erasures"].count_documents(query) >= WAITING_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"at most {WAITING_MAX} erasures of an account wait; ask again later")
    id = new_id("erasure_")
    document = {
        "_id": id, "schema_version": 1, "account": account, "about": about, "reason": reason, "dry_run": dry_run,
        "criteria": context.sealer.seal(PURPOSE, criteria.encode(), id.encode()),
        "criteria_hash": context.sealer.derive(PURPOSE, f"{account}\0{criteria}"),
        "by": viewer.name, "created_at": now(), "state": "pending", "counts": None, "ended_at": None, "op": None,
    }  # fmt: skip
    await insert_once(context.mongo["erasures"], document)
    details = {"about": about, "dry_run": dry_run, "criteria_hash": document["criteria_hash"], "reason": reason}
    await audit(context.mongo, by=viewer.name, action="erasure.ask", target=id, account=account, details=details)
    return await _ended(context, viewer, id)


async def get_erasure(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """One request. Raises: PermanentError NOT_FOUND."""
    return found(await context.mongo["erasures"].find_one({"_id": id}, HIDDEN), viewer, f"erasure {id}")


async def list_erasures(
    context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None
) -> Listed:
    """Requests, newest first."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(context, "erasures", query, by="created_at", limit=limit, cursor=cursor, projection=HIDDEN)


async def _ended(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    end_s = monotonic_s() + WAIT_S
    while True:
        document = await get_erasure(context, viewer, id)
        if document["state"] in ENDED or monotonic_s() >= end_s:
            return document
        await asyncio.sleep(POLL_S)
