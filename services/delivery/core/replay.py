"""What a replay asks for. Called by: handlers.py (the command delivery.replay). Pure. Change also: the console, which
issues it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REPLAYED_IDS_MAX = 1000


def replay_query(args: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which deliveries a replay means: `ids`, or every one of `endpoint` (`<account>/<name>`, or a name with
    `account`)."""
    ids = args.get("ids")
    if isinstance(ids, list) and 1 <= len(ids) <= REPLAYED_IDS_MAX and all(isinstance(id, str) for id in ids):
        return {"_id": {"$in": ids}}
    endpoint, account = args.get("endpoint"), args.get("account")
    if not isinstance(endpoint, str) or ids is not None:
        return None
    if "/" in endpoint:
        account, _, endpoint = endpoint.partition("/")
    return {"account": account, "endpoint": endpoint} if isinstance(account, str) and account and endpoint else None
