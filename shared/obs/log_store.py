"""Log lines in the database, where the console's live log reads them.

Called by: shared.runtime.service makes one LogStore per process; shared.obs.logs passes every line to `to_store`.
Survives a crash: what was inserted; up to a second of lines is only on stderr. A database that is away costs nothing
but the oldest lines of the queue, which are counted. Change also: the collection `logs` in shared/mongo/indexes.py.

It must never log about itself: an insert that fails would make a line, which would be inserted. So its own task runs
under a context variable that turns lines away, and the loggers of pymongo are never stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from pymongo.errors import PyMongoError

from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.metrics import counter

QUEUE_LENGTH_MAX = 10_000
BATCH_LENGTH_MAX = 500
FLUSH_S = 0.5
BACKOFF_S = 2.0
KEEP_DAYS = 14
FIELD_LENGTH_MAX = 4_000
FIELDS_COUNT_MAX = 40
STORED_LEVELS = frozenset({"info", "warning", "error", "critical"})
_COLUMNS = ("account", "worker", "run", "task", "seq", "trace")
_NOT_FIELDS = frozenset({"event", "level", "at", "service", "instance", "logger", *_COLUMNS})
DROPPED = counter("log_lines_dropped_total", "Log lines that did not reach the database.")

_mute: ContextVar[bool] = ContextVar("log_store_mute", default=False)
_stores: list[LogStore] = []


def to_store(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: hand the finished line to the stores of this process, and pass it on unchanged."""
    wanted = not _mute.get() and event.get("level") in STORED_LEVELS
    if _stores and wanted and not str(event.get("logger", "")).startswith("pymongo"):
        for store in _stores:
            store.add(event)
    return event


class LogStore:
    """A bounded queue of lines and the task that inserts them in bulk.

    mongo: anything with `[collection]` access; keep_days: how long a line is kept.
    """

    def __init__(self, mongo: Any, service: str, instance: str, *, keep_days: int = KEEP_DAYS) -> None:
        self._mongo = mongo
        self._service = service
        self._instance = instance
        self._keep = timedelta(days=keep_days)
        self._lines: deque[dict[str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take lines from now on, and insert them from a task of this loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="log-store")
            _stores.append(self)

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Take no more lines, insert what is there as far as that is possible in the time."""
        if self._task is None:
            return
        if self in _stores:
            _stores.remove(self)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        _mute.set(True)
        try:
            async with asyncio.timeout(timeout_s):
                while self._lines and await self._flush():
                    pass
        except TimeoutError:
            pass
        finally:
            DROPPED.inc(len(self._lines))
            self._lines.clear()
            _mute.set(False)

    def add(self, event: MutableMapping[str, Any]) -> None:
        """Queue a line; at the limit the oldest goes. Never raises."""
        try:
            line = self._document(event)
        except Exception:  # a line that can't be turned into a document is no reason to disturb its writer
            DROPPED.inc()
            return
        while len(self._lines) >= QUEUE_LENGTH_MAX:
            try:
                self._lines.popleft()
            except IndexError:
                break
            DROPPED.inc()
        self._lines.append(line)

    async def _work(self) -> None:
        _mute.set(True)
        while True:
            if not self._lines or not await self._flush():
                await asyncio.sleep(FLUSH_S if not self._lines else BACKOFF_S)

    async def _flush(self) -> bool:
        """Insert one batch; False when the database did not take it, and the lines are in the queue again."""
        batch = [self._lines.popleft() for _ in range(min(BATCH_LENGTH_MAX, len(self._lines)))]
        try:
            await self._mongo["logs"].insert_many(batch, ordered=False)
        except PyMongoError as error:
            if not _only_duplicates(error):
                self._put_back(batch)
                return False
        except asyncio.CancelledError:
            self._put_back(batch)
            raise
        except Exception:  # such as a value that BSON can't hold: the batch would never go in
            DROPPED.inc(len(batch))
        return True

    def _put_back(self, batch: list[dict[str, Any]]) -> None:
        room = max(0, QUEUE_LENGTH_MAX - len(self._lines))
        DROPPED.inc(max(0, len(batch) - room))
        self._lines.extendleft(reversed(batch[len(batch) - min(room, len(batch)) :]))

    def _document(self, event: MutableMapping[str, Any]) -> dict[str, Any]:
        at = now()
        fields = [(str(name), _plain(value)) for name, value in event.items() if name not in _NOT_FIELDS]
        line: dict[str, Any] = {
            "_id": new_id("log_"),
            "schema_version": 1,
            "at": at,
            "service": str(event.get("service", self._service)),
            "instance": str(event.get("instance", self._instance)),
            "level": str(event.get("level", "info")),
            "event": str(event.get("event", "")),
            "fields": dict(fields[:FIELDS_COUNT_MAX]),
            "expires_at": at + self._keep,
        }
        line.update({name: _plain(event[name]) for name in _COLUMNS if event.get(name) is not None})
        return line


def _only_duplicates(error: PyMongoError) -> bool:
    """Whether every line that was refused is there already, from a try whose answer was lost."""
    details = getattr(error, "details", None) or {}
    refused = details.get("writeErrors") or []
    return bool(refused) and all(each.get("code") == 11000 for each in refused)


def _plain(value: Any) -> Any:
    """A value that BSON holds and that has a limit; integers over 64 bits become text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    text = str(value)
    return text if len(text) <= FIELD_LENGTH_MAX else text[:FIELD_LENGTH_MAX] + "..."
