"""Which sources this collector looks at: claims what is due, and what a collector that died had in hand.

Called by: main.py (a sweeper, and `kick` when something is wanted). Survives a crash: a source in hand names its
holder, a collector's lease and that lease's token. The lease's counter stands still when the collector dies, and after
`source_lease_still_s` on the reader's own clock another one takes the source over, with a higher token; the dead one's
writes match nothing from then on. A collector that starts again under its own name has a new lease token, so what its
former self had in hand is free at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from services.collector.core.looks import Failure, after_failure, after_success, log_entry, next_look
from services.collector.intake import Intake
from services.collector.sources.session import Lost, Session
from services.collector.sources.store import SourceStore
from shared.domain.events import EventKind, Severity, event_document
from shared.errors import PermanentError, TemporaryError
from shared.intake.source_settings import AnySettings, BadSettings, read_settings
from shared.mongo.events import raise_event
from shared.mongo.lease import Lease, LeaseState, Watch
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge, histogram
from shared.runtime import commands

LOOK_S_MAX = 900.0
"""Time of one look; the next goes on where it stood."""
AGAIN = timedelta(seconds=3)
"""Until the next try after the database was away."""
STOP_S = 5.0
HELD_MAX = 500
LOOKS = counter("source_looks_total", "Looks at sources, by kind and how they ended.", ["kind", "outcome"])
ITEMS = counter("source_items_total", "Items that sources brought, by what became of them.", ["kind", "what"])
TAKEOVERS = counter("source_takeovers_total", "Sources taken over from a collector that died.", [])
IN_HAND = gauge("sources_in_hand", "Looks under way in this process.", [])
SECONDS = histogram("source_look_seconds", "How long looks take.", ["kind"])

Look = Callable[[Session, datetime], Awaitable[bool]]
"""Looks at a source; true: there is more, look again at once."""

log = get_logger(__name__)


class Keeper:
    """Looks at what is due."""

    def __init__(
        self, store: SourceStore, intake: Intake, looks: Mapping[str, Look], lease: Lease, watch: Watch, *, at_once: int
    ) -> None:
        """looks: by kind. at_once: looks of this process."""
        self._store = store
        self._intake = intake
        self._looks = looks
        self._lease = lease
        self._watch = watch
        self._at_once = at_once
        self._hands: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self.kick: Callable[[], None] = lambda: None
        """Sweeps at once; main.py puts the sweeper's here."""

    async def sweep(self) -> None:
        """Take what is due and what lies with the dead, as far as there is room."""
        states = {state.instance: state for state in await self._watch.observe()}
        if not self._lease.fresh or self._stopping:
            return
        for source in await self._store.held(HELD_MAX):
            if source["_id"] in self._hands or not self._room():
                continue
            if self._is_left(source["holder"]) or self._is_dead(source["holder"], states):
                TAKEOVERS.inc()
                log.warning("source taken over", source=source["_id"], holder=source["holder"]["by"])
                await self._take(source)
        for source in await self._store.due(now(), self._room()) if self._room() else ():
            if source["_id"] not in self._hands:
                await self._take(source)

    async def stop(self) -> None:
        """Let what is in hand end, for a moment; then cut it off, and lay it down for others."""
        self._stopping = True
        hands = list(self._hands.values())
        if hands:
            _, late = await asyncio.wait(hands, timeout=STOP_S)
            for hand in late:
                hand.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _room(self) -> int:
        return self._at_once - len(self._hands)

    def _is_left(self, holder: Mapping[str, Any]) -> bool:
        """Whether it is this process's, which has it in hand no more: the database was away when it was laid down."""
        return bool(holder["by"] == self._lease.owner and holder["lease"] == self._lease.token)

    def _is_dead(self, holder: Mapping[str, Any], states: Mapping[str, LeaseState]) -> bool:
        state = states.get(str(holder["by"]))
        return state is None or state.token != holder["lease"] or state.still_for_s >= self._watch.still_s

    async def _take(self, source: Mapping[str, Any]) -> None:
        holder = {"by": self._lease.owner, "lease": self._lease.token}
        claimed = await self._store.claim(source, holder)
        if claimed is None:
            return
        id = str(claimed["_id"])
        hand = asyncio.create_task(self._work(claimed), name=f"source {id}")
        self._hands[id] = hand
        IN_HAND.set(len(self._hands))

        def ended(_: asyncio.Task[None]) -> None:
            self._hands.pop(id, None)
            IN_HAND.set(len(self._hands))
            if not self._stopping:
                self.kick()

        hand.add_done_callback(ended)

    async def _work(self, source: dict[str, Any]) -> None:
        """One look, from the claim to its end."""
        token = self._lease.token
        try:
            await self._look(source, lambda: self._lease.fresh and self._lease.token == token)
        except asyncio.CancelledError:
            await self._store.release(source, {}, {})
            raise
        except Lost:
            log.info("look dropped: the source is another's, or was changed", source=source["_id"])
            await self._lay_down(source)
        except TemporaryError as error:
            log.warning("look not ended; it is looked again", source=source["_id"], reason=error.message)
            await self._lay_down(source)

    async def _lay_down(self, source: Mapping[str, Any]) -> None:
        """Without saying anything about it. What fails here is taken over once this collector's lease ends."""
        try:
            await self._store.release(source, {"next_at": now() + AGAIN if source["enabled"] else None}, {})
        except TemporaryError as error:
            log.warning("source not laid down", source=source["_id"], reason=error.message)

    async def _look(self, source: dict[str, Any], alive: Callable[[], bool]) -> None:
        began, started = now(), monotonic_s()
        try:
            settings = read_settings({**source["settings"], "kind": source["kind"]})
        except BadSettings as error:
            await self._end_unreadable(source, began, str(error))
            return
        session = Session(source, settings, self._store, self._intake, began, alive)
        failure, more = None, False
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                more = await self._looks[source["kind"]](session, began)
        except Failure as error:
            failure = error
        except PermanentError as error:
            failure = Failure(error.message)
        except TimeoutError:
            failure = Failure(f"the look took longer than {LOOK_S_MAX:g} s; the next one goes on where it stood")
        except (Lost, TemporaryError):
            raise
        except Exception as error:
            log.exception("look failed by a defect", source=source["_id"])
            failure = Failure(f"a defect of this program: {type(error).__name__}; the collector's log says more")
        SECONDS.labels(source["kind"]).observe(monotonic_s() - started)
        await self._end(session, settings, failure, more)

    async def _end_unreadable(self, source: dict[str, Any], began: datetime, reason: str) -> None:
        """Settings of another release that this one doesn't read."""
        changes = after_failure(source, Failure(reason), now=now(), jitter=random.random())
        if not source["enabled"]:
            changes["next_at"] = None
        log.error("source has settings that can't be read", source=source["_id"], reason=reason)
        await self._store.release(source, changes, {"counters.looks": 1, "counters.failed": 1})

    async def _end(self, session: Session, settings: AnySettings, failure: Failure | None, more: bool) -> None:
        """Log, event, and the source free again; in this order, so that a crash between repeats the look."""
        source, at = session.source, now()
        if failure is None:
            next_at = None if not source["enabled"] else at if more else self._next(settings, session.began, at)
            changes = after_success(next_at=next_at, now=at)
            await self._say_up(source, at)
        else:
            changes = after_failure(source, failure, now=at, jitter=random.random())
            if not source["enabled"]:
                changes["next_at"] = None
            if failure.restart:
                changes["position"] = None
        reason = failure.message if failure is not None else None
        by = self._lease.owner
        await self._store.add_log(log_entry(source, session.notes, began=session.began, ended=at, by=by, reason=reason))
        increments = {
            **session.unsaved.increments(),
            "counters.looks": 1,
            **({"counters.failed": 1} if failure else {}),
        }
        await self._store.release(source, changes, increments)
        await self._say_down(source, changes)
        await self._answer(session, reason)
        self._count(session, failure)

    def _next(self, settings: AnySettings, began: datetime, at: datetime) -> datetime | None:
        return next_look(settings.schedule, began, at)

    async def _say_down(self, source: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        down = changes.get("down") or (source.get("down") if "down" not in changes else None)
        if down:
            text = f"source {source['_id']} fails: {down['reason']}"
            await self._raise(EventKind.SOURCE_DOWN, Severity.ERROR, source, down["since"], text, now())

    async def _say_up(self, source: Mapping[str, Any], at: datetime) -> None:
        down = source.get("down")
        if down:
            text = f"source {source['_id']} works again"
            await self._raise(EventKind.SOURCE_UP, Severity.INFO, source, down["since"], text, at)

    async def _raise(
        self, kind: EventKind, severity: Severity, source: Mapping[str, Any], since: datetime, text: str, at: datetime
    ) -> None:
        """Raise an event; the same one however often, for one time of being down."""
        id = f"{kind.value}/{source['_id']}/{since:%Y%m%dT%H%M%S.%f}"
        document = event_document(
            kind, id=id, at=at, service="collector", severity=severity, target=str(source["_id"]), text=text,
            account=str(source["account"]), facts={"since": since, "kind": source["kind"]},
        )  # fmt: skip
        await raise_event(self._store.mongo, document)

    async def _answer(self, session: Session, reason: str | None) -> None:
        """End the request of whoever wanted this look."""
        asked = session.source.get("asked")
        if not asked:
            return
        tally = session.notes.tally
        text = f"{tally.taken} taken, {tally.duplicates} there before, {tally.refused} refused"
        await commands.finish(self._store.mongo, asked["command"], "refused" if reason else "done", reason or text)

    def _count(self, session: Session, failure: Failure | None) -> None:
        kind, tally = session.source["kind"], session.notes.tally
        LOOKS.labels(kind, "failed" if failure else "ok").inc()
        for what in ("taken", "duplicates", "refused"):
            ITEMS.labels(kind, what).inc(getattr(tally, what))
        about = {"source": session.id, "account": session.account, "taken": tally.taken, "refused": tally.refused}
        if failure is not None:
            log.warning("look failed", reason=failure.message, **about)
        elif tally.came:
            log.info("looked", duplicates=tally.duplicates, **about)
