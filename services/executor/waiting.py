"""Performs waits: sits short ones out, asks people, and parks the run for everything that takes longer.

Called by: performing.py. Survives a crash: the entry of the wait, and for a decision its document; both are made
before anybody waits. Change also: core/waits.py (the rules), store_waits.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.executor.core.journal import Phase
from services.executor.core.reply import Answer
from services.executor.core.waits import (
    DECIDE,
    Expire,
    ParkAs,
    WaitHere,
    decision_document,
    decision_step,
    timer_step,
)
from services.executor.journal import Journal
from services.executor.store_waits import WaitStore, decision_id
from services.executor.tools import Hint
from shared.contracts.messages import DecisionAsked
from shared.obs.clock import now

BEAT_S = 15.0


class Park(Exception):
    """The run leaves this process until its wait is over."""

    def __init__(self, wait: Mapping[str, Any]) -> None:
        super().__init__(wait["kind"])
        self.wait = wait


class Waiting:
    """The waits of one run."""

    def __init__(self, journal: Journal, store: WaitStore, hint: Hint) -> None:
        """hint: tells delivery of a question; losing it costs a sweep there."""
        self._journal = journal
        self._store = store
        self._hint = hint

    async def perform(self, entry: Mapping[str, Any], stop: asyncio.Future[Any]) -> Answer | None:
        """Wait as an entry says; none when the run is to stop.

        Raises: Park when the run is to be put away meanwhile.
        """
        if stop.done():
            return None
        if entry["instruction"]["name"] == DECIDE:
            return await self._decide(entry)
        return await self._sit_out(entry, stop)

    async def _sit_out(self, entry: Mapping[str, Any], stop: asyncio.Future[Any]) -> Answer | None:
        stays = entry["phase"] in (Phase.TEARDOWN, Phase.KEEPALIVE)
        while not stop.done():
            step = timer_step(entry, now(), sit_out=stays)
            if isinstance(step, Answer):
                return step
            if isinstance(step, ParkAs):
                raise Park(step.wait)
            assert isinstance(step, WaitHere)
            await asyncio.wait({stop}, timeout=min(step.seconds, BEAT_S))
            if step.seconds > BEAT_S:
                await self._journal.touch()  # a script that waits is no run that hangs
        return None

    async def _decide(self, entry: Mapping[str, Any]) -> Answer:
        run = self._journal.run
        id = decision_id(run["_id"], int(entry["seq"]))
        decision = await self._store.decision(id)
        if decision is None:
            shown = entry["instruction"]["args"].get("image")
            image = await self._store.image(run["_id"], shown) if shown else None
            decision = await self._store.ask(decision_document(run, entry, id, image))
            await self._hint("decision.asked", DecisionAsked(decision=id))
        step = decision_step(entry, decision, now())
        if isinstance(step, Expire):
            await self._store.expire(id)
            step = decision_step(entry, await self._store.decision(id) or decision, now())
        if isinstance(step, ParkAs):
            raise Park(step.wait)
        assert isinstance(step, Answer)
        await self._store.taken_in(id)
        return step
