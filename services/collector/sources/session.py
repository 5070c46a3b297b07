"""One look at a source: what it takes, what it writes, what its log will say.

Called by: poll.py, files.py, timer.py (they look), keeper.py (begins and ends it), requests.py (a trial: nothing is
stored). Survives a crash: every write names the claim; a look whose claim is gone is dropped by `Lost`, at the next
write or before the next step, and whoever has the claim begins where the last write left off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.collector.core.looks import Failure, Notes, Tally, tally_of
from services.collector.intake import Intake, Sender
from services.collector.sources.store import SourceStore
from shared.intake.source_settings import AnySettings
from shared.runtime.http import Problem

CHUNK = 1000
"""Items that are taken by one call of the intake, and acknowledged together."""
SHOWN_MAX = 20


class Lost(Exception):
    """The source is another's now, or was changed: this look is over."""


@dataclass
class Session:
    """What a look works with."""

    source: dict[str, Any]
    """As it was claimed."""
    settings: AnySettings
    store: SourceStore
    intake: Intake
    began: datetime
    alive: Callable[[], bool]
    """Whether the claim can't have been taken over."""
    notes: Notes = field(default_factory=Notes)
    unsaved: Tally = field(default_factory=Tally)
    """Taken, and not yet counted in the source."""

    @property
    def id(self) -> str:
        """The source's id."""
        return str(self.source["_id"])

    @property
    def account(self) -> str:
        """Whose it is."""
        return str(self.source["account"])

    @property
    def name(self) -> str:
        """Its name within the account."""
        return str(self.source["name"])

    def check(self) -> None:
        """Before a step that can't be guarded. Raises: Lost."""
        if not self.alive():
            raise Lost

    async def take(self, items: Sequence[Any], places: Sequence[str] | None = None) -> dict[str, Any]:
        """Hand at most CHUNK items to the intake; its answer, whose refusals are noted.

        places: where each came from, for people. Raises: Failure, Lost, TemporaryError.
        """
        self.check()
        answer = await self._taken(items)
        tally = tally_of(answer)
        self.notes.tally.add(tally)
        self.unsaved.add(tally)
        batch = answer.get("batch")
        if batch and tally.taken:
            self.notes.batches.append(batch)
        elif batch:
            await self.store.drop_batch(batch)  # a poller that finds what it knows makes one a minute
        for one in answer["rejected"]:
            if places is not None:
                one["place"] = places[one["index"]]
        self.notes.refuse(answer["rejected"])
        return answer

    async def _taken(self, items: Sequence[Any]) -> dict[str, Any]:
        sender = Sender(self.account, self.id)
        try:
            return await self.intake.take(sender, str(self.source["workflow"]), items, source=self.id)
        except Problem as problem:
            raise Failure(f"nothing can be taken: {problem}") from problem

    async def save(self, **changes: Any) -> None:
        """Write what was reached, with the counters of what was taken. Raises: Lost, TemporaryError."""
        counted, self.unsaved = self.unsaved, Tally()
        if not await self.store.save(self.source, changes, counted.increments()):
            raise Lost
        self.source.update(changes)


@dataclass
class Trial(Session):
    """A look of which nothing is kept: what would come, with what is wrong with it."""

    shown: list[dict[str, Any]] = field(default_factory=list)
    """The first SHOWN_MAX items."""

    async def _taken(self, items: Sequence[Any]) -> dict[str, Any]:
        try:
            taking = await self.intake.begin(Sender(self.account, self.id), str(self.source["workflow"]))
            good, bad = await taking.check(list(enumerate(items)))
        except Problem as problem:
            raise Failure(f"nothing could be taken: {problem}") from problem
        self.shown += list(items[: SHOWN_MAX - len(self.shown)])
        accepted = [{"index": one.index, "reference": one.reference, "id": None, "duplicate": False} for one in good]
        return {
            "accepted": accepted,
            "rejected": [
                {"index": one.index, "reference": one.reference, "errors": [c.as_json() for c in one.complaints]}
                for one in bad
            ],
        }

    async def save(self, **changes: Any) -> None:
        """Nothing is written."""
        self.source.update(changes)


def chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Pieces that one call takes."""
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
