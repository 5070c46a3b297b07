"""One push being taken: items are checked, then stored chunk by chunk, and each is answered by what stands.

Called by: intake.py, streaming.py. Survives a crash at any line: what is stored are whole tasks with their places in
the queue; the batch's figures may be behind, and a repeated push puts them right. A push that is carried out again
under the same batch (an Idempotency-Key whose first try died) makes what is missing, and answers as the first try
would have: what that batch made counts as made by this push. Change also: shared/mongo/tombstones.py (the order of
the looks before the insert).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.collector.core.documents import Push, batch_document, task_documents
from services.collector.store import CollectorStore
from shared.errors import ErrorCode, TemporaryError
from shared.intake.items import Item, Refused, check_item, without_files
from shared.intake.schema import InputSchema, UnusableSchema
from shared.intake.verdicts import Standing, Verdicts, candidates, decide
from shared.mongo.files import Files
from shared.obs.flow import came_in
from shared.obs.ids import new_id
from shared.obs.metrics import counter
from shared.runtime.http import Problem

DUPLICATES = counter("tasks_duplicate_total", "Pushed items that were tasks before.", [])
REJECTED = counter("tasks_rejected_total", "Pushed items that were refused.", ["code"])


class Taking:
    """A push in progress. References and ids of its items are kept until its answer: ITEMS_MAX of them."""

    def __init__(self, store: CollectorStore, files: Files, push: Push, schema: InputSchema) -> None:
        self.push = push
        self._store = store
        self._files = files
        self._schema = schema
        self._op = new_id("op_")
        self._verdicts = Verdicts()
        self._standing: dict[str, Standing] = {}
        self._mine: dict[str, int] = {}
        """Tasks of this push's batch, with the index of the item each was made of."""
        self._said = 0
        self._noted: dict[str, Any] = {}
        """Figures as they stand in the batch."""

    @property
    def is_sound(self) -> bool:
        """Whether checks can't find the schema itself at fault."""
        return self._schema.is_sound

    async def check(self, items: Sequence[tuple[int, Any]]) -> tuple[list[Item], list[Refused]]:
        """Check items by the workflow's schema; in a thread, since ten thousand take a second.

        Raises: Problem 409 when the schema itself is at fault.
        """
        if not items:
            return [], []
        try:
            return await asyncio.to_thread(_check, items, self._schema, self.push.at)
        except UnusableSchema as error:
            raise Problem(409, ErrorCode.CONFLICT, str(error)) from error

    async def open(self, good: Sequence[Item] = (), bad: Sequence[Refused] = (), *, complete: bool = True) -> None:
        """Store the batch with the figures to expect. complete: there are no more items than these."""
        self._noted = {
            "count": len(good) + len(bad),
            "rejected": len(bad),
            "duplicates": 0,
            "complete": complete,
        }
        document = batch_document(self.push, **{key: self._noted[key] for key in self._noted if key != "duplicates"})
        if not await self._store.add_batch(document):
            self._noted = {}

    async def store(self, items: Sequence[Item | Refused]) -> None:
        """Take a chunk of checked items, in the order of the push. Raises: TemporaryError; push again then."""
        items = await self._with_files(items)
        good = [item for item in items if isinstance(item, Item)]
        bad = [item for item in items if isinstance(item, Refused)]
        first = [item for item in candidates(good) if item.reference not in self._standing]
        self._standing.update(await self._look(first, bad))
        new = await self._insert([item for item in first if item.reference not in self._standing])
        for item in first:
            if self._standing[item.reference].batch == self.push.batch:
                self._mine[self._standing[item.reference].id] = item.index
        verdicts = decide(good, bad, standing=self._standing, mine=self._mine)
        self._verdicts.add(verdicts)
        came_in(self.push.account, self.push.workflow, new)
        DUPLICATES.inc(verdicts.duplicates)
        for refused in verdicts.refused:
            REJECTED.labels(refused.complaints[0].code).inc()

    async def _with_files(self, items: Sequence[Item | Refused]) -> Sequence[Item | Refused]:
        """The items, those refused that name a file which the account doesn't have. The others' files stay."""
        named = {id for item in items if isinstance(item, Item) for id in item.files}
        if not named:
            return items
        missing = named - await self._files.touch(self.push.account, named)
        return [without_files(item, missing) if isinstance(item, Item) else item for item in items]

    async def _look(self, first: Sequence[Item], bad: Sequence[Refused]) -> dict[str, Standing]:
        """What stands under the references already. Refused items may be tasks of an earlier push, accepted under the
        rules of then."""
        asked = {item.reference for item in first}
        asked |= {item.reference for item in bad if item.reference and item.digest}
        unknown = sorted(asked - self._standing.keys())
        return await self._store.standing(self.push.account, self.push.workflow, unknown) if unknown else {}

    async def _insert(self, fresh: Sequence[Item]) -> int:
        """Make tasks of items whose references nobody used; how many this push made."""
        if not fresh:
            return 0
        ids = {item.reference: new_id("task_") for item in fresh}
        documents = task_documents(self.push, fresh, ids, op=self._op)
        if await self._store.add_tasks(documents):
            for item in fresh:
                self._standing[item.reference] = Standing(ids[item.reference], item.digest, self.push.batch)
            return len(fresh)
        found = await self._store.standing(self.push.account, self.push.workflow, list(ids))
        if missing := [reference for reference in ids if reference not in found]:
            raise TemporaryError(f"nobody has the reference {missing[0]!r} and it can't be taken either; push again")
        self._standing.update(found)
        return sum(found[reference].id == id for reference, id in ids.items())

    async def settle(self, *, complete: bool) -> None:
        """Bring the batch's figures up to date. complete: all of the push has been read."""
        figures = {
            "count": len(self._verdicts.accepted) + len(self._verdicts.refused),
            "rejected": len(self._verdicts.refused),
            "duplicates": self._verdicts.duplicates,
            "complete": complete,
        }
        if figures != self._noted:
            await self._store.correct_batch(self.push.batch, figures)
            self._noted = figures

    def unsaid(self) -> int:
        """How many tasks were made since this was last asked."""
        count = len(self._mine) - self._said
        self._said = len(self._mine)
        return count

    def answer(self) -> dict[str, Any]:
        """The answer's body."""
        rejected = self._verdicts.rejected()
        return {"batch": self.push.batch, "accepted": self._verdicts.accepted, "rejected": rejected}


def _check(items: Sequence[tuple[int, Any]], schema: InputSchema, at: datetime) -> tuple[list[Item], list[Refused]]:
    good: list[Item] = []
    bad: list[Refused] = []
    for index, raw in items:
        checked = check_item(index, raw, schema=schema, now=at)
        if isinstance(checked, Item):
            good.append(checked)
        else:
            bad.append(checked)
    return good, bad
