"""Adaptive waits in the executor: plans from memory, notes to memory, writes in batches.

Owns: what this process knows about places, and what it saw since the last flush. Called by: phase.py (`plan` before an
instruction is sent, `note` with its reply; both only touch memory), runner.py (`ready` when a run begins), main.py
(`flush` by a sweeper and at the end). Survives a crash: what was flushed; the rest is a few seconds of learning. Change
also: core/pacing.py (what a reply says), shared/domain/pacing.py (what is learned).

An instruction is noted once the next one of its run is known (or after HELD_S): when that one finds nothing, the click
before it may have come too early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.executor.core.pacing import (
    Planned,
    blamed,
    bounds_of,
    is_paced,
    lengthened_s,
    object_of,
    observed,
    own_wait_s,
    wait_of,
)
from services.executor.store_pacing import PLACES_MAX, Head, PacingStore, Stored
from shared.contracts.messages import WorkerInstruction
from shared.domain import pacing
from shared.domain.pacing import Observation, Place
from shared.domain.pacing_pause import Bounds
from shared.obs.clock import monotonic_s
from shared.obs.ids import new_id
from shared.obs.metrics import counter, gauge

FLUSH_S = 5.0
"""How often the sweeper should flush."""
REFRESH_S = 10.0
HELD_S = 60.0
UNUSED_S = 3600.0
PENDING_MAX = 200
"""Observations of one place between two flushes; older ones are dropped."""
WORKFLOWS_MAX = 500

DROPPED = counter("regente_pacing_dropped_total", "Observations that were not learned from.", ["why"])
PLACES = gauge("regente_pacing_places", "Places whose waits this executor knows.", [])


@dataclass
class Known:
    """One workflow in memory."""

    head: Head
    bounds: Bounds
    mode: str
    read_s: float
    used_s: float
    places: dict[str, Stored] = field(default_factory=dict)
    new_hours: float = 0.0
    pending: dict[str, list[Observation]] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        """Robot hours so far."""
        return self.head.hours + self.new_hours

    @property
    def frozen(self) -> bool:
        """Whether nothing is learned in the whole workflow."""
        return self.head.frozen or self.mode == "frozen"

    def take(self, head: Head) -> None:
        """Settings, hours and freeze as they are stored now."""
        self.head, self.bounds, self.mode = head, bounds_of(head.settings), str(head.settings.get("mode") or "learn")


class Pacing:
    """What this executor knows about waits."""

    def __init__(self, store: PacingStore) -> None:
        self._store = store
        self._known: dict[str, Known] = {}
        self._wanted: set[str] = set()
        self._held: dict[str, tuple[Planned, Observation, float]] = {}
        self._turns: Counter[str] = Counter()

    # memory only

    def plan(
        self, account: str, workflow: str, place: str, worker: str, name: str, args: Mapping[str, Any],
        *, timeout_s: float, run: str,
    ) -> Planned:  # fmt: skip
        """How the next instruction waits. args: as stored or resolved; timeout_s: the instruction's own time."""
        key = f"{account}/{workflow}"
        known = self._known.get(key)
        if known is None and len(self._wanted) < WORKFLOWS_MAX:
            self._wanted.add(key)
        if known is None or known.mode == "off" or not is_paced(name):
            return Planned(timeout_s=timeout_s)
        known.used_s = monotonic_s()
        self._turns[key] += 1
        wait, thing = wait_of(name, args, timeout_s, self._turns[key]), object_of(args)
        stored = known.places.get(place)
        state = stored.place if stored else pacing.fresh()
        if known.frozen:
            state = pacing.freeze(state)
        pace = pacing.plan(state, known.bounds, known.hours, robot=worker, object=thing, wait=wait)
        pause_s = round(pace.pause_s, 3)
        return Planned(
            pause_s, pace.find_s, lengthened_s(timeout_s, pause_s, pace.find_s), key, place, run, worker, name, thing,
            wait, pace.find_s if pace.find_s is not None else own_wait_s(name, args, timeout_s),
        )  # fmt: skip

    def note(
        self, planned: Planned, *, outcome: str, code: str = "", found_s: float | None = None, duration_s: float = 0.0,
        value: Any = None, repeated: bool = False,
    ) -> None:  # fmt: skip
        """What became of a planned instruction; refused and repeated ones are nothing new."""
        known = self._known.get(planned.key)
        if known is None or repeated or outcome == "refused":
            return
        known.new_hours += max(0.0, duration_s) / 3600
        seen = observed(planned, outcome=outcome, code=code, found_s=found_s, value=value)
        before = self._held.pop(planned.run, None)
        if before is not None:
            self._keep(before[0], blamed(before[1], seen, code))
        self._held[planned.run] = (planned, seen, monotonic_s())

    def _keep(self, planned: Planned, seen: Observation) -> None:
        known = self._known.get(planned.key)
        if known is None:
            return
        if planned.place not in known.pending and planned.place not in known.places:
            unsaved = sum(name not in known.places for name in known.pending)
            if len(known.places) + unsaved >= PLACES_MAX:
                DROPPED.labels("too many places").inc()
                return
        pending = known.pending.setdefault(planned.place, [])
        pending.append(seen)
        if len(pending) > PENDING_MAX:
            del pending[0]
            DROPPED.labels("too many at once").inc()

    # the database

    async def ready(self, account: str, workflow: str) -> None:
        """Know a workflow before its first instruction is planned."""
        key = f"{account}/{workflow}"
        if key not in self._known:
            await self._refresh(key)

    async def flush(self, *, all_held: bool = False) -> None:
        """Write what was learned, and read what others learned. all_held: also what waits for its next instruction.

        Raises: TemporaryError; what was not written is kept for the next flush.
        """
        self._release(all_held)
        for key, known in list(self._known.items()):
            await self._write(key, known)
        for key in self._due():
            await self._refresh(key)
        PLACES.set(sum(len(known.places) for known in self._known.values()))

    def forget(self, account: str, workflow: str) -> None:
        """Read a workflow anew at the next chance: a person changed what is stored."""
        known = self._known.get(f"{account}/{workflow}")
        if known is not None:
            known.read_s = float("-inf")

    def _release(self, all_held: bool) -> None:
        old = monotonic_s() - HELD_S
        for run, (planned, seen, at) in list(self._held.items()):
            if all_held or at < old:
                del self._held[run]
                self._keep(planned, seen)

    def _due(self) -> list[str]:
        """The workflows that should be read now; those that nobody used for an hour are dropped."""
        at = monotonic_s()
        for key, known in list(self._known.items()):
            if at - known.used_s > UNUSED_S and not known.pending:
                del self._known[key]
                del self._turns[key]
        return sorted(self._wanted | {key for key, known in self._known.items() if at - known.read_s >= REFRESH_S})

    async def _write(self, key: str, known: Known) -> None:
        """One workflow's observations, each on top of what the database holds now."""
        hours, known.new_hours = known.new_hours, 0.0
        if hours:
            known.head = replace(known.head, hours=known.head.hours + hours)
            await self._store.add_hours(key, hours)
        if not known.pending:
            return
        pending, known.pending = known.pending, {}
        unsaved = set(pending)
        try:
            stored = await self._store.read(key, pending)
            changed = {name: self._learned(known, stored.get(name), seen) for name, seen in pending.items()}
            saved = await self._store.save(key, changed, new_id("pace_"))
            unsaved -= saved
            for name in saved:
                known.places[name] = replace(changed[name], rev=(changed[name].rev or 0) + 1)
        finally:
            for name in unsaved:
                known.pending[name] = (pending[name] + known.pending.get(name, []))[-PENDING_MAX:]

    def _learned(self, known: Known, stored: Stored | None, seen: list[Observation]) -> Stored:
        place: Place = stored.place if stored else pacing.fresh()
        learning = pacing.freeze(place) if known.frozen else place
        for one in seen:
            learning = pacing.learn(learning, one, known.bounds, known.hours)
        return Stored(stored.rev if stored else None, pacing.freeze(learning, place.frozen))

    async def _refresh(self, key: str) -> None:
        """What is stored now: head, settings, and the places that others changed."""
        head, revisions = await self._store.head(key), await self._store.revisions(key)
        at = monotonic_s()
        known = self._known.setdefault(key, Known(head, Bounds(), "learn", at, at))
        known.take(head)
        stale = [name for name, rev in revisions.items() if name not in known.places or known.places[name].rev != rev]
        known.places = {name: one for name, one in known.places.items() if name in revisions}
        for start in range(0, len(stale), 100):
            known.places.update(await self._store.read(key, stale[start : start + 100]))
        known.read_s = at
        self._wanted.discard(key)


def paced(message: WorkerInstruction, planned: Planned) -> WorkerInstruction:
    """The message as it is planned to wait."""
    return message.model_copy(
        update={"pause_s": planned.pause_s or None, "find_s": planned.find_s, "timeout_s": planned.timeout_s}
    )
