"""A push, from its bytes to its answer: checks, one insert, and what the database said about it.

Called by: api.py. Survives a crash at any line: before the insert nothing was taken; after it the tasks stand in the
queue's lists, where the scheduler's sweep finds them without a hint, and a repeated push is answered with the same
ids. Change also: README.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.collector.core.body import Misfit, PushBody, Unreadable, read_push
from services.collector.core.documents import Push, batch_document, task_document
from services.collector.core.items import Item, Refused, check_item
from services.collector.core.schema import InputSchema, UnusableSchema
from services.collector.core.verdicts import Standing, Verdicts, candidates, decide
from services.collector.store import CollectorStore
from shared.broker import Broker
from shared.contracts.messages import TaskAccepted
from shared.contracts.topology import HANDOFFS
from shared.errors import ErrorCode, RegenteError
from shared.obs.clock import now, now_us
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.obs.trace import child, new_traceparent, use
from shared.runtime.http import Problem

ACCEPTED = counter("tasks_accepted_total", "Tasks stored by pushes.", [])
DUPLICATES = counter("tasks_duplicate_total", "Pushed items that were tasks before.", [])
REJECTED = counter("tasks_rejected_total", "Pushed items that were refused.", ["code"])
HINTS_FAILED = counter("hints_failed_total", "Hints that could not be sent; the sweepers make up for them.", ["hint"])

log = get_logger(__name__)


@dataclass(frozen=True)
class Sender:
    """Who pushes."""

    account: str
    partner: str


class Intake:
    """Takes pushes."""

    def __init__(self, store: CollectorStore, broker: Broker, *, schemas_kept: int) -> None:
        self._store = store
        self._broker = broker
        self._schemas: OrderedDict[str, InputSchema] = OrderedDict()
        self._schemas_kept = schemas_kept

    async def push(self, sender: Sender, data: bytes, traceparent: str | None) -> dict[str, Any]:
        """Take a push.

        traceparent: the request's header, if it had one.
        Returns: the answer's body.
        Raises: Problem, when the push as a whole can't be taken; TemporaryError.
        """
        body = await self._read(data)
        schema = await self._schema(sender.account, body.workflow)
        at = now()
        try:
            good, bad = await asyncio.to_thread(_check, body.tasks, schema, at)
        except UnusableSchema as error:
            raise Problem(409, ErrorCode.CONFLICT, str(error)) from error
        trace = child(traceparent) if traceparent else new_traceparent()
        push = Push(sender.account, sender.partner, body.workflow, new_id("batch_"), at, now_us(), trace)
        verdicts, new = await self._store_push(push, good, bad)
        self._count(verdicts, new)
        if new:
            await self._hint(push, new)
        return {"batch": push.batch, "accepted": verdicts.accepted, "rejected": verdicts.rejected()}

    async def _read(self, data: bytes) -> PushBody:
        try:
            return await asyncio.to_thread(read_push, data)
        except Unreadable as error:
            raise Problem(400, ErrorCode.MALFORMED, str(error)) from error
        except Misfit as error:
            code = ErrorCode.TOO_MANY if error.too_many else ErrorCode.MALFORMED
            raise Problem(422, code, error.message, errors=[{"message": error.message, "path": error.path}]) from error

    async def _schema(self, account: str, workflow: str) -> InputSchema:
        """The compiled input schema of the workflow's current version; compiled ones are kept, a version never
        changes."""
        found = await self._store.workflow(account, workflow)
        if found is None:
            raise Problem(404, ErrorCode.UNKNOWN_WORKFLOW, f"there is no workflow {workflow!r} in this account")
        number = found.get("current")
        if number is None:
            raise Problem(409, ErrorCode.CONFLICT, f"the workflow {workflow!r} has no published version yet")
        key = f"{account}/{workflow}/{number}"
        if key not in self._schemas:
            self._schemas[key] = await self._compile(account, workflow, number)
            while len(self._schemas) > self._schemas_kept:
                self._schemas.popitem(last=False)
        self._schemas.move_to_end(key)
        return self._schemas[key]

    async def _compile(self, account: str, workflow: str, number: int) -> InputSchema:
        version = await self._store.version(account, workflow, number)
        if version is None:
            raise Problem(409, ErrorCode.CONFLICT, f"version {number} of {workflow!r} is not stored yet; try again")
        try:
            schema = version.get("input") or {"type": "object"}
            return await asyncio.to_thread(InputSchema, schema, version.get("scenarios") or ())
        except UnusableSchema as error:
            raise Problem(409, ErrorCode.CONFLICT, str(error)) from error

    async def _store_push(self, push: Push, good: list[Item], bad: list[Refused]) -> tuple[Verdicts, int]:
        """Insert what is new and answer every item; also how many tasks this push made."""
        first = candidates(good)
        ids = {item.reference: new_id("task_") for item in first}
        await self._store.add_batch(batch_document(push, count=len(good) + len(bad), rejected=len(bad)))
        op = new_id("op_")
        documents = [task_document(push, item, id=ids[item.reference], op=op) for item in first]
        clean = await self._store.add_tasks(documents) if documents else True
        standing = {item.reference: Standing(ids[item.reference], item.digest) for item in first}
        # Refused items may be tasks of an earlier push, accepted under the rules of then.
        unsure = [item.reference for item in bad if item.reference and item.digest and item.reference not in ids]
        asked = unsure if clean else [*ids, *unsure]
        if asked:
            standing.update(await self._store.standing(push.account, push.workflow, asked))
        mine = {ids[item.reference]: item.index for item in first}
        verdicts = decide(good, bad, standing=standing, mine=mine)
        if len(verdicts.refused) != len(bad) or verdicts.duplicates:
            await self._store.correct_batch(push.batch, rejected=len(verdicts.refused), duplicates=verdicts.duplicates)
        return verdicts, sum(1 for item in first if standing[item.reference].id == ids[item.reference])

    async def _hint(self, push: Push, count: int) -> None:
        """Tell the scheduler. A hint that fails is no error: the tasks already stand in the queue's lists."""
        message = TaskAccepted(account=push.account, workflow=push.workflow, batch=push.batch, count=count)
        try:
            with use(push.traceparent):
                await self._broker.send(HANDOFFS, "task.accepted", message)
        except RegenteError as error:
            HINTS_FAILED.labels("task.accepted").inc()
            log.warning("hint not sent; the scheduler's sweep finds the tasks", batch=push.batch, error=str(error))

    def _count(self, verdicts: Verdicts, new: int) -> None:
        ACCEPTED.inc(new)
        DUPLICATES.inc(verdicts.duplicates)
        for item in verdicts.refused:
            REJECTED.labels(item.complaints[0].code).inc()


def _check(tasks: Sequence[Any], schema: InputSchema, at: datetime) -> tuple[list[Item], list[Refused]]:
    """Check every item; in a thread, since ten thousand take a second."""
    good: list[Item] = []
    bad: list[Refused] = []
    for index, raw in enumerate(tasks):
        checked = check_item(index, raw, schema=schema, now=at)
        if isinstance(checked, Item):
            good.append(checked)
        else:
            bad.append(checked)
    return good, bad
