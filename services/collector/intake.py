"""Taking tasks in, from bytes or from JSON values to the answer.

Called by: api.py (pushes), streaming.py (NDJSON); `take` by whatever else makes tasks. Survives a crash at any line:
before the insert nothing was taken; after it the tasks stand in the queue's lists, where the scheduler's sweep finds
them without a hint, and a repeated push is answered with the same ids. Change also: taking.py (the inserts), README.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from services.collector.core.body import Misfit, PushBody, Unreadable, read_push
from services.collector.core.documents import Push
from services.collector.store import INSERT_BATCH, CollectorStore
from services.collector.taking import Taking
from shared.broker import Broker
from shared.contracts.messages import TaskAccepted
from shared.contracts.topology import HANDOFFS
from shared.errors import ErrorCode, RegenteError
from shared.intake.items import Item, Refused
from shared.intake.schema import InputSchema, UnusableSchema
from shared.mongo.files import Files
from shared.obs.clock import now, now_us
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.obs.spans import note_push, own_trace, push_context
from shared.obs.trace import trace_id, use
from shared.runtime.http import Problem

HINTS_FAILED = counter("hints_failed_total", "Hints that could not be sent; the sweepers make up for them.", ["hint"])

Charge = Callable[[int], Awaitable[None]]
"""Counts items against a limit. Raises: Problem 429."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Sender:
    """Whose tasks they are, and who brings them."""

    account: str
    partner: str
    """The partner's name; of tasks that no partner brought, whoever did (a source, a user)."""


class Intake:
    """Takes tasks in, whoever brings them."""

    def __init__(self, store: CollectorStore, broker: Broker, *, files: Files | None = None, schemas_kept: int) -> None:
        """files: where inputs' files are; one of its own by default."""
        self._store = store
        self._files = files or Files(store.mongo)
        self._broker = broker
        self._schemas: OrderedDict[str, InputSchema] = OrderedDict()
        self._schemas_kept = schemas_kept

    async def push(
        self,
        sender: Sender,
        data: bytes,
        traceparent: str | None,
        *,
        batch: str | None = None,
        charge: Charge | None = None,
    ) -> dict[str, Any]:
        """Take a push.

        traceparent: the request's header, if it had one. batch: of an earlier try at the same push, which it carries
        on with. charge: is asked before anything is stored.
        Returns: the answer's body.
        Raises: Problem, when the push as a whole can't be taken; TemporaryError.
        """
        body = await self._read(data)
        if charge is not None:
            await charge(len(body.tasks))
        return await self.take(sender, body.workflow, body.tasks, traceparent=traceparent, batch=batch)

    async def take(
        self,
        sender: Sender,
        workflow: str,
        items: Sequence[Any],
        *,
        source: str | None = None,
        traceparent: str | None = None,
        batch: str | None = None,
    ) -> dict[str, Any]:
        """Take items, wherever they come from: JSON values as they stand in a push's `tasks`; at most ITEMS_MAX.

        source: what made them, such as acme/orders; none: a partner's push. batch: the id that the batch shall have;
        one of an earlier try carries on with it.
        Returns: what a push is answered with: {batch, accepted, rejected}.
        Raises: Problem, when none of them can be taken; TemporaryError.
        """
        taking = await self.begin(sender, workflow, source=source, traceparent=traceparent, batch=batch)
        numbered = list(enumerate(items))
        # A schema that may turn out to be at fault is asked about everything before anything is stored.
        size = INSERT_BATCH if taking.is_sound else max(1, len(numbered))
        chunks = [numbered[start : start + size] for start in range(0, len(numbered), size)]
        with use(taking.push.traceparent):
            await self._take_chunks(taking, chunks or [[]])
            await self.hint(taking)
        return self.taken(taking)

    async def _take_chunks(self, taking: Taking, chunks: Sequence[Sequence[tuple[int, Any]]]) -> None:
        """Check each chunk while the one before is stored."""
        good, bad = await taking.check(chunks[0])
        whole = len(chunks) == 1
        await taking.open(*((good, bad) if whole else ()), complete=whole)
        try:
            for following in (*chunks[1:], None):
                ahead = asyncio.create_task(taking.check(following or ()))
                try:
                    ordered: list[Item | Refused] = sorted([*good, *bad], key=lambda one: one.index)
                    for start in range(0, len(ordered), INSERT_BATCH):
                        await taking.store(ordered[start : start + INSERT_BATCH])
                finally:
                    checked = await ahead
                good, bad = checked
        except BaseException:
            if not whole:
                await taking.settle(complete=False)
            raise
        await taking.settle(complete=True)

    async def begin(
        self,
        sender: Sender,
        workflow: str,
        *,
        source: str | None = None,
        traceparent: str | None = None,
        batch: str | None = None,
    ) -> Taking:
        """Make ready for items of a workflow; nothing is stored yet. Raises: Problem; TemporaryError."""
        schema = await self._schema(sender.account, workflow)
        id = batch or new_id("batch_")
        given = traceparent if trace_id(traceparent) else None
        own = None if given else own_trace
        trace = push_context(id, given)
        push = Push(sender.account, sender.partner, workflow, id, now(), now_us(), trace, source, given, own)
        return Taking(self._store, self._files, push, schema)

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

    def taken(self, taking: Taking) -> dict[str, Any]:
        """The answer to a push of which all is stored, and its span."""
        push, answer = taking.push, taking.answer()
        note_push(
            push.traceparent, push.given, push.at, now(), account=push.account, workflow=push.workflow,
            batch=push.batch, source=push.source, accepted=len(answer["accepted"]), rejected=len(answer["rejected"]),
        )  # fmt: skip
        return answer

    async def hint(self, taking: Taking) -> None:
        """Tell the scheduler of the tasks made since the last time. A hint that fails is no error: the tasks already
        stand in the queue's lists."""
        count, push = taking.unsaid(), taking.push
        if not count:
            return
        message = TaskAccepted(account=push.account, workflow=push.workflow, batch=push.batch, count=count)
        try:
            with use(push.traceparent):
                await self._broker.send(HANDOFFS, "task.accepted", message)
        except RegenteError as error:
            HINTS_FAILED.labels("task.accepted").inc()
            log.warning("hint not sent; the scheduler's sweep finds the tasks", batch=push.batch, error=str(error))
