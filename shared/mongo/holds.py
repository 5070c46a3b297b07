"""Legal holds in the database, and the gate at which they meet deletions.

Called by: console (placing, lifting), delivery (whatever deletes or erases). Owns: `legal_holds`, `hold_gates`.
Survives a crash: placing and lifting are one transaction or one write each. Change also: shared/domain/legal_hold.py.

Placing a hold and marking things for deletion both write the account's gate in a transaction, so one of them comes
first: what was marked before is deleted, and the answer to who places the hold counts it; nothing that a standing hold
covers is ever marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.mongo import Mongo, Session
from shared.mongo.guarded import guarded_update, in_transaction

HOLDS_MAX = 1000
"""Standing holds of one account."""


class TooManyHolds(Exception):
    """An account has as many standing holds as it can."""


async def place(mongo: Mongo, hold: Mapping[str, Any]) -> None:
    """Store a hold: _id, account, workflow, task, reference (or null), reason, by, at.

    From its return on nothing that it covers is marked for deletion any more. Raises: TooManyHolds, TemporaryError.
    """

    async def store(session: Session) -> None:
        standing = {"account": hold["account"], "lifted_at": None}
        if await mongo["legal_holds"].count_documents(standing, session=session) >= HOLDS_MAX:
            raise TooManyHolds
        await pass_gate(mongo, str(hold["account"]), session)
        whole = {**hold, "schema_version": 1, "lifted_at": None, "lifted_by": None}
        await mongo["legal_holds"].update_one(
            {"_id": hold["_id"]}, {"$setOnInsert": whole}, upsert=True, session=session
        )

    await in_transaction(mongo, store)


async def lift(mongo: Mongo, id: str, *, by: str, at: datetime, op: str) -> bool:
    """End a hold; it stays on record. False when it was lifted before."""
    change = {"$set": {"lifted_at": at, "lifted_by": by}}
    return (await guarded_update(mongo["legal_holds"], id, {"lifted_at": None}, change, op=op)).applied


async def standing(mongo: Mongo, account: str, session: Session | None = None) -> list[dict[str, Any]]:
    """The holds of an account that are not lifted."""
    query = {"account": account, "lifted_at": None}
    return list(await mongo["legal_holds"].find(query, session=session).limit(HOLDS_MAX).to_list(HOLDS_MAX))


async def pass_gate(mongo: Mongo, account: str, session: Session) -> None:
    """Meet everybody else who places a hold or marks something of this account: one transaction comes first."""
    await mongo["hold_gates"].update_one({"_id": account}, {"$inc": {"passes": 1}}, upsert=True, session=session)
