"""A push of newline-delimited JSON: read, checked and stored in chunks while it arrives, in bounded memory.

Called by: api.py. Survives a crash, and a connection that breaks in the middle: whole chunks are stored, the batch
stays `complete: false`, and the same push again answers what was taken as duplicates. Change also: docs/adr/0020.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException

from services.collector.core.body import ITEMS_MAX, Unreadable, parse_json
from services.collector.core.lines import LINE_SIZE_BYTES_MAX, Line, Lines
from services.collector.intake import Charge, Intake
from services.collector.store import INSERT_BATCH
from services.collector.taking import Taking
from shared.errors import ErrorCode
from shared.intake.items import Refused
from shared.intake.schema import Complaint
from shared.runtime.http import Problem

CHUNK_BYTES_MAX = 1024 * 1024
"""Of lines that wait to be stored together."""

Progress = Callable[[], Awaitable[None]]
"""Called after every chunk: this push is alive."""


async def with_deadline(stream: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    """The pieces of a body. Raises: Problem 408 when none comes for `idle_s` seconds."""
    pieces = aiter(stream)
    while True:
        try:
            async with asyncio.timeout(idle_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            text = f"nothing came for {idle_s:g} s; send the body without such pauses, in smaller pushes if need be"
            raise Problem(408, ErrorCode.TIMEOUT, text) from None
        yield piece


class StreamedPush:
    """Takes one stream into one push."""

    def __init__(self, intake: Intake, taking: Taking, *, charge: Charge, progress: Progress) -> None:
        self._intake = intake
        self._taking = taking
        self._charge = charge
        self._progress = progress
        self._digest = hashlib.sha256()
        self._waiting: list[Line] = []
        self._waiting_bytes = 0
        self._count = 0

    @property
    def digest(self) -> str:
        """SHA-256 of what was read so far."""
        return self._digest.hexdigest()

    async def take(self, stream: AsyncIterator[bytes]) -> dict[str, Any]:
        """Take all of it. Returns: the answer's body.

        Raises: Problem 413, 422 (too many, none at all), 408; with `batch`, when something of it was taken before;
        TemporaryError.
        """
        lines = Lines()
        try:
            async for piece in stream:
                self._digest.update(piece)
                await self._add(lines.feed(piece))
            await self._add(lines.end(), last=True)
        except (Problem, HTTPException) as error:
            raise self._broken_off(error) from error
        if not self._count:
            raise Problem(422, ErrorCode.MALFORMED, "the body holds no task; send one JSON object per line")
        await self._taking.settle(complete=True)
        return self._intake.taken(self._taking)

    async def _add(self, lines: list[Line], *, last: bool = False) -> None:
        for line in lines:
            if self._count == ITEMS_MAX:
                raise Problem(422, ErrorCode.TOO_MANY, f"more than {ITEMS_MAX} tasks in one push")
            self._count += 1
            self._waiting.append(line)
            self._waiting_bytes += len(line.data or b"")
            if len(self._waiting) >= INSERT_BATCH or self._waiting_bytes >= CHUNK_BYTES_MAX:
                await self._store()
        if last:
            await self._store()

    async def _store(self) -> None:
        """Store the lines that wait, as one chunk."""
        lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not lines:
            return
        raw, broken = await asyncio.to_thread(_parse, lines)
        good, bad = await self._taking.check(raw)
        if self._count == len(lines):
            await self._taking.open(complete=False)
        await self._charge(len(lines))
        await self._taking.store(sorted([*good, *bad, *broken], key=lambda one: one.index))
        await self._taking.settle(complete=False)
        await self._intake.hint(self._taking)
        await self._progress()

    def _broken_off(self, error: Problem | HTTPException) -> Problem:
        """The problem to answer: what was taken stays taken, and the answer says so."""
        status = error.status if isinstance(error, Problem) else error.status_code
        code = error.code if isinstance(error, Problem) else ErrorCode.TOO_LARGE
        text = error.message if isinstance(error, Problem) else str(error.detail)
        headers = error.headers if isinstance(error, Problem) else None
        taken = self._count - len(self._waiting)
        if not taken:
            return Problem(status, code, text, headers=headers)
        batch = self._taking.push.batch
        more = f"; the first {taken} items were looked at as batch {batch}, and pushing them again makes no second task"
        return Problem(status, code, text + more, headers=headers, batch=batch)


def _parse(lines: list[Line]) -> tuple[list[tuple[int, Any]], list[Refused]]:
    """Items by their index (the line's number, from 0), and the lines that are none."""
    raw: list[tuple[int, Any]] = []
    broken: list[Refused] = []
    for line in lines:
        try:
            if line.data is None:
                raise Unreadable(f"line {line.number} has more than {LINE_SIZE_BYTES_MAX} bytes")
            raw.append((line.number - 1, parse_json(line.data, f"line {line.number}")))
        except Unreadable as error:
            broken.append(Refused(line.number - 1, None, [Complaint("MALFORMED", str(error), "")]))
    return raw, broken
