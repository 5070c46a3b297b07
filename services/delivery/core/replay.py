"""What a replay asks for. Called by: handlers.py (the command delivery.replay), deliveries_api.py. Pure. Change also:
the console, which issues it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

REPLAYED_IDS_MAX = 1000
NAMES = ("endpoint", "workflow", "event", "task")
"""Fields by which a replay chooses among an account's dead deliveries."""
TIMES = {"created_after": "$gte", "created_before": "$lt"}


def replay_query(args: Mapping[str, Any]) -> dict[str, Any] | None:
    """Which deliveries a replay means; none when that can't be said.

    Either `ids`; or an `account` and a filter of at least one of `endpoint` (also `<account>/<name>`), `workflow`,
    `event`, `task`, `created_after`, `created_before` (ISO 8601).
    """
    ids = args.get("ids")
    if ids is not None:
        fits = isinstance(ids, list) and 1 <= len(ids) <= REPLAYED_IDS_MAX and all(isinstance(id, str) for id in ids)
        return {"_id": {"$in": ids}} if fits else None
    fields = {name: args[name] for name in NAMES if args.get(name) is not None}
    if not all(isinstance(value, str) and value for value in fields.values()):
        return None
    account = args.get("account")
    if "/" in fields.get("endpoint", ""):
        account, _, fields["endpoint"] = fields["endpoint"].partition("/")
    times = _times(args)
    if times is None or not isinstance(account, str) or not account or not (fields or times):
        return None
    return {"account": account, **fields, **times} if all(fields.values()) else None


def _times(args: Mapping[str, Any]) -> dict[str, Any] | None:
    """Bounds of the time at which a delivery was made; none when one of them is no time."""
    bounds: dict[str, datetime] = {}
    for name, operator in TIMES.items():
        if args.get(name) is None:
            continue
        try:
            at = datetime.fromisoformat(str(args[name]))
        except ValueError:
            return None
        bounds[operator] = at if at.tzinfo else at.replace(tzinfo=UTC)
    return {"created_at": bounds} if bounds else {}
