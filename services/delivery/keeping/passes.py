"""The leader's passes: what is old enough goes, a bounded part at a time; erasures are carried out.

Called by: main.py. One instance leads (lease `keeping/leader`); archiving and erasing never run at the same time, so
that no copy is made of what is being erased. Survives a crash: another instance leads on, within ten seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from services.delivery.core.retention import Cutoffs, cutoffs
from services.delivery.feed import Feed
from services.delivery.keeping.archive import BATCH, Archive, NotLeading
from services.delivery.keeping.erasing import Erasing
from services.delivery.keeping.evidence import BATCH as LINKS
from services.delivery.keeping.evidence import EvidenceKeeping
from shared.mongo import Mongo
from shared.mongo.files import Files
from shared.mongo.leading import KEEPING, Leading
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger
from shared.obs.metrics import gauge
from shared.seal import Sealer

BATCHES_MAX = 20
"""Batches of one account in one pass; the rest waits for the next, so that daily work has the database."""
LEADS = gauge("keeping_leads", "1 while this instance archives, deletes and erases.", [])

Step = Callable[[str, datetime], Awaitable[int]]

log = get_logger(__name__)


class Keeping:
    """Archiving, deletion and erasure, while this instance leads."""

    def __init__(
        self, mongo: Mongo, sealer: Sealer, feed: Feed, instance: str, *, interval_s: float, grace_s: float
    ) -> None:
        """interval_s: between two passes of retention. grace_s: so long bytes without a link stay."""
        self._mongo = mongo
        self._lease = Leading(mongo, KEEPING, instance)
        files = Files(mongo)
        self._evidence = EvidenceKeeping(mongo, grace_s=grace_s)
        self._archive = Archive(mongo, feed, self._evidence, files, self._leads)
        self._erasing = Erasing(mongo, sealer, self._evidence, files, self._leads)
        self._interval_s = interval_s
        self._passed_at_s = float("-inf")

    def start(self) -> None:
        """Want to lead."""
        self._lease.start()

    async def stop(self) -> None:
        """Let another one lead."""
        await self._lease.stop()

    async def sweep(self) -> None:
        """Carry out erasures; now and then a pass over what is old. Nothing while another instance leads."""
        LEADS.set(int(self._lease.leads))
        if not self._leads():
            return
        try:
            await self._erasing.sweep()
            if monotonic_s() - self._passed_at_s >= self._interval_s:
                self._passed_at_s = monotonic_s()
                await self._pass()
        except NotLeading:
            log.warning("another instance may lead now; it goes on")

    async def _pass(self) -> None:
        async for account in self._mongo["accounts"].find({"settings.retention": {"$type": "object"}}, {"settings": 1}):
            try:
                await self._account(str(account["_id"]), cutoffs(account["settings"], now()))
            except NotLeading:
                raise
            except Exception:
                log.exception("retention of an account failed; the next pass comes back to it", account=account["_id"])
        await self._evidence.sweep_bytes()

    async def _account(self, account: str, cut: Cutoffs) -> None:
        archive = self._archive
        if cut.evidence is not None:
            for _ in range(BATCHES_MAX):
                if not self._leads() or await self._evidence.drop_old(account, cut.evidence) < LINKS:
                    break
        if cut.results is not None:
            for step in (archive.tasks, archive.runs):
                await self._batches(step, account, cut.results)
        if cut.archive is not None:
            for step in (archive.delete_tasks, archive.delete_runs, archive.delete_files):
                await self._batches(step, account, cut.archive)

    async def _batches(self, step: Step, account: str, before: datetime) -> None:
        for _ in range(BATCHES_MAX):
            if not self._leads() or await step(account, before) < BATCH:
                return

    def _leads(self) -> bool:
        return self._lease.leads
