"""Stores events: insert-only, once for each id.

Called by: scheduler (limits, held workflows, quarantine, zombies), executor (timeouts). Survives a crash: an id that
the reason determines makes an event that is told once however often it is raised. Change also: shared/domain/events.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.mongo import Mongo, Session
from shared.mongo.guarded import insert_once
from shared.obs.metrics import counter

RAISED = counter("events_raised_total", "Events raised, by kind and severity.", ["kind", "severity"])


async def raise_event(mongo: Mongo, document: Mapping[str, Any], *, session: Session | None = None) -> bool:
    """Store an event (shared.domain.events.event_document); false when it had been raised before.

    In a transaction an upsert, because a duplicate key would end the transaction. Raises: TemporaryError.
    """
    if session is None:
        fresh = await insert_once(mongo["events"], document)
    else:
        fields = {key: value for key, value in document.items() if key != "_id"}
        done = await mongo["events"].update_one(
            {"_id": document["_id"]}, {"$setOnInsert": fields}, upsert=True, session=session
        )
        fresh = done.upserted_id is not None
    if fresh:
        RAISED.labels(document["kind"], document["severity"]).inc()
    return fresh
