"""Who waits for new entries of the feed, and what wakes them.

Called by: results_api.py (long-poll), main.py. Survives a crash: nothing; a reader asks again with its cursor. Entries
of this process wake at once; those of other processes by a change stream, which is open only while somebody waits.
When the stream is away, waiters look for themselves every RECHECK_S seconds, as they do in any case.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.errors import PyMongoError

from shared.mongo import Mongo, first_line
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge

WAITERS_MAX = 1000
WAITERS_PER_ACCOUNT_MAX = 32
RECHECK_S = 2.0
REOPEN_S = 1.0
WAITERS = gauge("feed_waiters", "Readers of the results feed that wait for an entry.", [])
REFUSED = counter("feed_waiters_refused_total", "Readers that could not wait: too many do.", [])
_PIPELINE: list[dict[str, Any]] = [{"$match": {"operationType": "insert"}}, {"$project": {"fullDocument.account": 1}}]

log = get_logger(__name__)


class TooManyWait(Exception):
    """No place to wait."""


class Waiters:
    """The readers of this process that wait."""

    def __init__(self, mongo: Mongo, stopping: asyncio.Event) -> None:
        """stopping: set when the service ends; everybody is woken by it."""
        self._mongo = mongo
        self._stopping = stopping
        self._news: dict[str, asyncio.Event] = {}
        self._count: Counter[str] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._leave: asyncio.Task[None] | None = None

    @property
    def ending(self) -> bool:
        """The service ends: nobody waits any more."""
        return self._stopping.is_set()

    @contextmanager
    def place(self, account: str) -> Iterator[None]:
        """A place to wait in. Raises: TooManyWait."""
        if self._count[account] >= WAITERS_PER_ACCOUNT_MAX or self._count.total() >= WAITERS_MAX:
            REFUSED.inc()
            raise TooManyWait
        self._count[account] += 1
        WAITERS.set(self._count.total())
        if self._watch is None and not self.ending:
            self._watch = asyncio.create_task(self._stream(), name="feed watch")
            self._leave = asyncio.create_task(self._wake_at_the_end(), name="feed end")
        try:
            yield
        finally:
            self._count[account] -= 1
            if not self._count[account]:
                del self._count[account]
                self._news.pop(account, None)
            WAITERS.set(self._count.total())
            if not self._count.total():
                self._close()

    def news(self, account: str) -> asyncio.Event:
        """What is set at the next entry of an account; for somebody who has a place, and looks after asking for it."""
        return self._news.setdefault(account, asyncio.Event())

    def wake(self, account: str) -> None:
        """An account has new entries."""
        news = self._news.pop(account, None)
        if news is not None:
            news.set()

    async def _stream(self) -> None:
        troubled = False
        while True:
            try:
                async with await self._mongo["results"].watch(_PIPELINE, max_await_time_ms=1000) as stream:
                    for account in list(self._news):
                        self.wake(account)
                    troubled = False
                    async for change in stream:
                        self.wake(str(change["fullDocument"]["account"]))
            except PyMongoError as error:
                if not troubled:
                    log.warning("the feed is not watched; waiting readers look now and then", reason=first_line(error))
                troubled = True
            await asyncio.sleep(REOPEN_S)

    async def _wake_at_the_end(self) -> None:
        await self._stopping.wait()
        for account in list(self._news):
            self.wake(account)

    def _close(self) -> None:
        for task in (self._watch, self._leave):
            if task is not None:
                task.cancel()
        self._watch = self._leave = None
