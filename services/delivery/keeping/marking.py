"""Marks things for deletion or erasure, unless a legal hold covers them. From the mark on there is no way back.

Called by: archive.py, evidence.py, erasing.py. Survives a crash: the mark is on the document; whoever leads next goes
on. One transaction reads the holds, passes the account's gate and marks, so a hold that is placed at the same moment
comes before or after it, never between (shared/mongo/holds.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.domain.legal_hold import covered
from shared.mongo import Mongo, Session
from shared.mongo.guarded import in_transaction
from shared.mongo.holds import pass_gate, standing

Thing = Mapping[str, Any]


async def mark(
    mongo: Mongo,
    collection: str,
    account: str,
    things: Sequence[Thing],
    as_held: Callable[[Thing], Mapping[str, Any]],
    fields: Mapping[str, Any],
    expect: Mapping[str, Any] | None = None,
) -> list[Thing]:
    """Set `fields` on those of these documents that no hold covers and that are as expected; gives them.

    as_held: a document as shared.domain.legal_hold.covers reads it. Raises: TemporaryError.
    """
    free: list[Thing] = []

    async def attempt(session: Session) -> None:
        holds = await standing(mongo, account, session)
        free[:] = [thing for thing in things if not covered(holds, as_held(thing))]
        if not free:
            return
        await pass_gate(mongo, account, session)
        query = {**(expect or {}), "_id": {"$in": [thing["_id"] for thing in free]}}
        await mongo[collection].update_many(query, {"$set": dict(fields)}, session=session)
        found = mongo[collection].find({"_id": query["_id"], **fields}, {"_id": 1}, session=session)
        marked = {one["_id"] for one in await found.to_list(len(free))}
        free[:] = [thing for thing in free if thing["_id"] in marked]

    if things:
        await in_transaction(mongo, attempt)
    return free
