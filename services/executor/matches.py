"""Which selector of an object matched, counted: how people find selectors that have gone stale.

Owns: `object_matches`. Called by: the runner, whenever a reply is noted (`note_reply`); main.py sweeps `flush`.
Survives a crash: what was flushed; the counts of the last two seconds are lost with the process, and a flush whose
answer is lost may count twice. These are statistics, and no task waits for them. Several executors write the same
documents: everything is added, nothing replaced. Change also: services/console/store/objects.py, which reads them.

`_id` is `<account>/<workflow>/<object>/<environment or ->/<mark of the selectors>`: the counts of a list of selectors
say nothing about the list that a later version has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from services.executor.core.matching import use_of
from shared.domain.objects import mark_of
from shared.mongo import Mongo
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

RECENT_MAX = 50
"""Newest uses that a document keeps in order."""
PENDING_MAX = 2000
"""Objects whose counts wait for a flush; beyond that they are dropped, and counted as that."""
KEPT_S = 180 * 86400.0

DROPPED = counter("regente_object_matches_dropped_total", "Uses of objects that were not counted.", [])
log = get_logger("executor.matches")


@dataclass
class _Counts:
    """What is to be added to one document."""

    fields: dict[str, Any]
    counts: dict[int, int] = field(default_factory=dict)
    last_at: dict[int, datetime] = field(default_factory=dict)
    misses: int = 0
    missed_at: datetime | None = None
    recent: list[dict[str, Any]] = field(default_factory=list)

    def add(self, matched: int | None, worker: str | None, at: datetime) -> None:
        """One more use."""
        if matched is None:
            self.misses, self.missed_at = self.misses + 1, at
        else:
            self.counts[matched], self.last_at[matched] = self.counts.get(matched, 0) + 1, at
        self.recent = [*self.recent, {"matched": matched, "at": at, "worker": worker}][-RECENT_MAX:]

    def put_back(self, other: _Counts) -> None:
        """What came meanwhile goes on top of what could not be written."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.last_at.update(other.last_at)
        self.misses += other.misses
        self.missed_at = other.missed_at or self.missed_at
        self.recent = [*self.recent, *other.recent][-RECENT_MAX:]


class Matches:
    """Counts uses of objects, and brings them to the database now and then."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._pending: dict[str, _Counts] = {}

    def note_reply(
        self,
        run: Mapping[str, Any],
        instruction: Mapping[str, Any],
        objects: Mapping[str, Mapping[str, Any]],
        *,
        outcome: str,
        code: str | None,
        matched: int | None,
    ) -> None:
        """Count what an answered instruction says about its object, if it has one.

        run: its document; instruction: as the journal's entry has it; objects: the version's; code: of the error.
        """
        environment = run.get("environment")
        use = use_of(instruction, objects, environment, outcome=outcome, code=code, matched=matched)
        if use is not None:
            self.note(
                run["account"], run["workflow"], use.object, environment, use.matched, run["worker"],
                selectors=use.selectors,
            )  # fmt: skip

    def note(
        self,
        account: str,
        workflow: str,
        object: str,
        environment: str | None,
        matched: int | None,
        worker: str | None,
        *,
        selectors: tuple[str, ...],
    ) -> None:
        """Count one use. `matched`: index among `selectors`; none: nothing matched."""
        mark = mark_of(selectors)
        id = f"{account}/{workflow}/{object}/{environment or '-'}/{mark}"
        if id not in self._pending and len(self._pending) >= PENDING_MAX:
            DROPPED.inc()
            return
        fields = {
            "account": account, "workflow": workflow, "object": object, "environment": environment, "mark": mark,
            "selectors": list(selectors),
        }  # fmt: skip
        self._pending.setdefault(id, _Counts(fields)).add(matched, worker, now())

    async def flush(self) -> None:
        """Add what was counted since the last time; what can't be written is added with the next one."""
        taken, self._pending = self._pending, {}
        if not taken:
            return
        left = taken
        try:
            await self._mongo["object_matches"].bulk_write(
                [_update(id, one) for id, one in taken.items()], ordered=False
            )
            return
        except PyMongoError as error:
            left = _unwritten(taken, error)
            log.warning("uses of objects not counted yet", objects=len(left), reason=str(error)[:200])
        for id, one in left.items():
            meanwhile = self._pending.get(id)
            if meanwhile is not None:
                one.put_back(meanwhile)
            self._pending[id] = one


def _update(id: str, one: _Counts) -> UpdateOne:
    at = one.recent[-1]["at"]
    add = {f"counts.{index}": count for index, count in one.counts.items()}
    newest = {f"last_at.{index}": moment for index, moment in one.last_at.items()}
    if one.misses:
        add["misses"] = one.misses
        newest["missed_at"] = one.missed_at  # type: ignore[assignment]
    change: dict[str, Any] = {
        "$setOnInsert": {**one.fields, "schema_version": 1, "first_at": one.recent[0]["at"]},
        "$inc": {"uses": sum(one.counts.values()) + one.misses, **add},
        "$max": {"used_at": at, "expires_at": at + timedelta(seconds=KEPT_S), **newest},
        "$push": {"recent": {"$each": one.recent, "$slice": -RECENT_MAX}},
    }
    return UpdateOne({"_id": id}, change, upsert=True)


def _unwritten(taken: dict[str, _Counts], error: PyMongoError) -> dict[str, _Counts]:
    """Those that a bulk write did not bring in: of two executors that insert a document at once, one is told so."""
    details: Mapping[str, Any] = getattr(error, "details", None) or {}
    failed = details.get("writeErrors") or []
    if not failed:
        return taken
    ids = list(taken)
    return {ids[one["index"]]: taken[ids[one["index"]]] for one in failed}
