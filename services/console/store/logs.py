"""Log lines of services and robots, by robot, task, run or service.

Called by: api/logs.py, pages. Owns nothing: logs are insert-only, by every service. A robot's lines that were kept
while it was offline arrive with times of their own, so who follows reads a little back again (`overlap_s`) and drops
what it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX
from shared.errors import ErrorCode, PermanentError
from shared.runtime.http import decode_cursor, encode_cursor

LEVELS = ("debug", "info", "warning", "error", "critical")
LINES_MAX = 1000


@dataclass(frozen=True)
class LogFilter:
    """Which lines; none means all."""

    account: str | None = None
    worker: str | None = None
    run: str | None = None
    task: str | None = None
    service: str | None = None
    level: str | None = None
    """The least severe level that is wanted."""

    def query(self, viewer: Viewer) -> dict[str, Any]:
        """As a query, within the viewer's accounts."""
        wanted = {"worker": self.worker, "run": self.run, "task": self.task, "service": self.service}
        query: dict[str, Any] = {name: value for name, value in wanted.items() if value}
        query.update(viewer.account_filter(self.account))
        if self.level in LEVELS:
            query["level"] = {"$in": list(LEVELS[LEVELS.index(self.level) :])}
        return query


@dataclass(frozen=True)
class Lines:
    """Lines in order of time, and the cursor to go on from."""

    items: list[dict[str, Any]]
    after: str | None
    """None when there is no line yet."""


async def newest_lines(context: Context, viewer: Viewer, wanted: LogFilter, limit: int) -> Lines:
    """The newest lines, the oldest of them first."""
    lines = await _read_lines(context, wanted.query(viewer), -1, limit)
    lines.reverse()
    return Lines(lines, _cursor(lines[-1]) if lines else None)


async def lines_after(
    context: Context, viewer: Viewer, wanted: LogFilter, after: str, limit: int, overlap_s: float = 0.0
) -> Lines:
    """The lines behind a cursor; with `overlap_s` also those up to so many seconds before it, once more.

    Raises: PermanentError MALFORMED for a cursor that is not ours.
    """
    at, last_id = _read(after)
    newer = {"at": {"$gte": at}, "$or": [{"at": {"$gt": at}}, {"_id": {"$gt": last_id}}]}
    lines = await _read_lines(context, {"$and": [wanted.query(viewer), newer]}, 1, limit)
    cursor = _cursor(lines[-1]) if lines else after
    if overlap_s > 0:
        earlier = {"at": {"$gte": at - timedelta(seconds=overlap_s), "$lte": at}}
        late = await _read_lines(context, {"$and": [wanted.query(viewer), earlier]}, -1, limit)
        known = {line["_id"] for line in lines}
        lines = [line for line in reversed(late) if line["_id"] not in known] + lines
    return Lines(lines, cursor)


async def _read_lines(context: Context, query: dict[str, Any], order: int, limit: int) -> list[dict[str, Any]]:
    cursor = context.mongo["logs"].find(query).sort([("at", order), ("_id", order)]).limit(limit)
    return [dict(one) async for one in cursor.max_time_ms(QUERY_TIME_MS_MAX)]


def _cursor(line: dict[str, Any]) -> str:
    return str(encode_cursor([line["at"].isoformat(), line["_id"]]))


def _read(cursor: str) -> tuple[datetime, str]:
    try:
        value, last_id = decode_cursor(cursor)
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise PermanentError(ErrorCode.MALFORMED, "the cursor is not one of this list") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC), str(last_id)
