"""One page of a list, newest first, by a cursor that survives inserts.

Called by: the other modules of store. A cursor holds the sort values of the last item of the page before: no
skipping, so page 1,000 costs what page 1 costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from shared.errors import ErrorCode, PermanentError
from shared.runtime.http import decode_cursor, encode_cursor

QUERY_TIME_MS_MAX = 5000
ACCOUNTS_KEPT_S = 2.0
ACCOUNTS_MAX = 1000


@dataclass(frozen=True)
class Listed:
    """A page of documents and the cursor of the next one, or none at the end."""

    items: list[dict[str, Any]]
    next: str | None


async def account_names(context: Context) -> list[str]:
    """All accounts' names, as of a moment ago."""

    async def ask() -> list[str]:
        cursor = context.mongo["accounts"].find({}, {"_id": 1}).sort("_id", 1).limit(ACCOUNTS_MAX)
        return [str(one["_id"]) async for one in cursor]

    names: list[str] = await context.moment.get("accounts", ask, ACCOUNTS_KEPT_S)
    return names


async def seen_accounts(context: Context, viewer: Viewer, account: str | None = None) -> dict[str, Any]:
    """A filter for the accounts that the viewer sees, by name: so an index on (account, ...) gives the order, too."""
    if account is not None:
        return viewer.account_filter(account)
    names = await account_names(context) if viewer.everywhere else list(viewer.accounts)
    return {"account": {"$in": names}}


async def list_page(
    context: Context,
    collection: str,
    query: Mapping[str, Any],
    *,
    by: str,
    limit: int,
    cursor: str | None,
    projection: Mapping[str, Any] | None = None,
) -> Listed:
    """Documents that match `query`, the highest `by` first (ties by _id), after `cursor`.

    Raises: PermanentError MALFORMED for a cursor that is not ours.
    """
    wanted: dict[str, Any] = dict(query)
    if cursor is not None:
        value, last_id = _read(cursor)
        wanted = {"$and": [wanted, {by: {"$lte": value}}, {"$or": [{by: {"$lt": value}}, {"_id": {"$lt": last_id}}]}]}
    found = (
        context.mongo[collection]
        .find(wanted, projection)
        .sort([(by, -1), ("_id", -1)])
        .limit(limit + 1)
        .max_time_ms(QUERY_TIME_MS_MAX)
    )
    documents = [dict(one) async for one in found]
    items = documents[:limit]
    return Listed(items, _write(items[-1], by) if len(documents) > limit else None)


def _write(document: Mapping[str, Any], by: str) -> str:
    value = document[by]
    return str(encode_cursor([value.isoformat() if isinstance(value, datetime) else value, document["_id"]]))


def _read(cursor: str) -> tuple[Any, str]:
    parts = decode_cursor(cursor)
    if not isinstance(parts, Sequence) or len(parts) != 2 or not isinstance(parts[1], str):
        raise PermanentError(ErrorCode.MALFORMED, "the cursor is not one of this list")
    value = parts[0]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value, parts[1]
    if not isinstance(value, str):
        raise PermanentError(ErrorCode.MALFORMED, "the cursor is not one of this list")
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise PermanentError(ErrorCode.MALFORMED, "the cursor is not one of this list") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC), parts[1]


def found(document: Mapping[str, Any] | None, viewer: Viewer, what: str) -> dict[str, Any]:
    """The document, when it exists and belongs to an account of the viewer.

    Raises: PermanentError NOT_FOUND, the same for both, so that nobody learns what other accounts have.
    """
    if document is None or not viewer.sees(document.get("account")):
        raise PermanentError(ErrorCode.NOT_FOUND, f"{what} does not exist")
    return dict(document)
