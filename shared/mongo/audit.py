"""The record of what people and services changed: insert-only, never corrected.

Called by: console (every action of a person), scheduler (authorisations, doubts), delivery (replays). Survives a
crash: every entry is one majority write, made after the act it tells of; an act whose entry is missing shows in the
document's own history. The end of an erasure, which leaves no such history, is told just before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.mongo import Mongo
from shared.mongo.guarded import insert_once
from shared.obs import trace
from shared.obs.clock import now
from shared.obs.ids import new_id


async def audit(
    mongo: Mongo,
    *,
    by: str,
    action: str,
    target: str,
    account: str | None = None,
    details: Mapping[str, Any] | None = None,
    id: str | None = None,
) -> None:
    """Note that `by` did `action` (such as worker.authorise) to `target`; details never hold secrets.

    id: of the entry, the same at every try, where an act may be told before it is done and must be told once.
    Raises: TemporaryError.
    """
    await insert_once(
        mongo["audit"],
        {
            "_id": id or new_id("audit_"),
            "schema_version": 1,
            "at": now(),
            "by": by,
            "action": action,
            "target": target,
            "account": account,
            "details": dict(details or {}),
            "trace": trace.trace_id(trace.current()),
        },
    )
