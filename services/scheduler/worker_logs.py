"""Robots' log lines, stored beside the services' own.

Called by: handlers.py. Survives a crash: a line's identity is (robot, journal, number), so a bundle that comes twice is
stored once.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import BulkWriteError

from shared.contracts.messages import WorkerLog, WorkerLogLine
from shared.mongo import Mongo
from shared.obs.clock import now

DUPLICATE = 11000
FIELDS_SIZE_MAX = 4000
INT_MAX = 2**53


class WorkerLogs:
    """Stores bundles of robots' lines."""

    def __init__(self, mongo: Mongo, *, keep_days: float) -> None:
        self._mongo = mongo
        self._keep = timedelta(days=keep_days)

    async def store(self, bundle: WorkerLog) -> None:
        """Insert the lines that are not there yet."""
        worker = await self._mongo["workers"].find_one({"_id": bundle.worker}, {"account": 1})
        account = (worker or {}).get("account")
        expires_at = now() + self._keep
        lines = [_document(bundle, line, account, expires_at) for line in bundle.lines]
        try:
            await self._mongo["logs"].insert_many(lines, ordered=False)
        except BulkWriteError as error:
            failures = (error.details or {}).get("writeErrors", [])
            if any(failure["code"] != DUPLICATE for failure in failures) or (error.details or {}).get(
                "writeConcernErrors"
            ):
                raise


def _document(bundle: WorkerLog, line: WorkerLogLine, account: str | None, expires_at: datetime) -> dict[str, Any]:
    """A line as it is stored beside the services' lines."""
    return {
        "_id": f"{bundle.worker}/{bundle.journal}/{line.n}",
        "schema_version": 1,
        "at": line.at,
        "service": "agent",
        "instance": bundle.worker,
        "level": line.level,
        "event": line.event,
        "account": account,
        "worker": bundle.worker,
        "run": line.run,
        "task": line.task,
        "seq": line.seq if _is_small_int(line.seq) else None,
        "trace": None,
        "fields": _bounded(line.fields),
        "expires_at": expires_at,
    }


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """A line's facts, short enough to be kept: a robot decides what stands there, so nothing of it is trusted."""
    kept: dict[str, Any] = {}
    size = 0
    for key, value in fields.items():
        small = value if isinstance(value, bool | float | None) or _is_small_int(value) else str(value)[:1000]
        size += len(key) + len(str(small))
        if size > FIELDS_SIZE_MAX:
            break
        kept[key.replace("\x00", "").lstrip("$").replace(".", "_")[:100]] = small
    return kept


def _is_small_int(value: object) -> bool:
    return isinstance(value, int) and abs(value) < INT_MAX
