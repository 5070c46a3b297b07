"""Picking files up: those of a folder and those of an SFTP server go the same way.

Called by: keeper.py, requests.py (trials). A file is first renamed, within its folder, to a name that nothing ever had
(Found.claimed); that one is read and moved aside, so whatever its partner puts under the old name meanwhile is another
file, for another look. Survives a crash at any line: a file is moved aside only after all its rows are stored and the
claim of the source was confirmed by a guarded write; one that was not moved yet is found under its claimed name by the
next look and taken again, and its rows have the same references, so they are there before. Trials rename and move
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from services.collector.core.files import (
    REPORT_ENDING,
    REPORTED_MAX,
    TOKEN_LENGTH,
    Found,
    candidates,
    finished,
    items_of,
    names_aside,
    report,
)
from services.collector.core.looks import Tally
from services.collector.sources.session import Session, Trial, chunks
from shared.intake.source_settings import FolderSettings, SftpSettings
from shared.intake.table import Unreadable
from shared.obs.clock import now
from shared.obs.ids import new_id


class Place(Protocol):
    """A folder somewhere. Everything may raise: Failure."""

    async def files(self) -> list[Found]:
        """Its plain files."""
        ...

    async def found(self, name: str) -> Found | None:
        """One of them as it is now; none when there is no such file."""
        ...

    async def read(self, name: str, size_bytes_max: int) -> bytes:
        """The first bytes of a file."""
        ...

    async def put(self, folder: str, name: str, data: bytes) -> None:
        """Write a file into a folder beneath, in place of one of that name."""
        ...

    async def rename(self, name: str, to: str) -> None:
        """Give a file another name, which no file has."""
        ...

    async def free(self, folder: str, names: Sequence[str]) -> str:
        """The first of these names that no file in a folder beneath has; the last one, when all are used."""
        ...

    async def move(self, name: str, folder: str, to: str) -> None:
        """Move a file into a folder beneath, in place of one of that name."""
        ...


Open = Callable[[Session], AbstractAsyncContextManager[Place]]


class FilePickup:
    """Looks at sources of kind folder or sftp."""

    def __init__(self, open_place: Open) -> None:
        self._open = open_place

    async def look(self, session: Session, at: datetime) -> bool:
        """Take the files that are finished; true: there are more. Raises: as Session's methods."""
        settings = session.settings
        assert isinstance(settings, FolderSettings | SftpSettings)
        async with self._open(session) as place:
            seen = candidates(await place.files(), settings)
            if not seen:
                return False
            await asyncio.sleep(settings.settle_s)
            ready = finished(seen, await place.files())
            if len(ready) < len(seen):
                session.notes.say(f"{len(seen) - len(ready)} files are still being written")
            most = 1 if isinstance(session, Trial) else settings.files_max
            schema = await session.store.input_schema(session.account, str(session.source["workflow"]))
            for one in ready[:most]:
                session.check()
                await _take(session, settings, place, one, schema)
            return len(ready) > most


async def _take(
    session: Session,
    settings: FolderSettings | SftpSettings,
    place: Place,
    file: Found,
    schema: Mapping[str, Any],
) -> None:
    """Take one file, and move it aside."""
    claimed = await _claimed(session, place, file)
    if claimed is None:
        session.notes.say(f"{file.own_name} was replaced just now; the new one is taken at the next look")
        return
    file, name = claimed, file.own_name
    # until its content is known, a file is told from another one of its name by what the folder says of it
    tally, digest, why = Tally(), hashlib.sha256(f"{file.size}/{file.changed}".encode()).hexdigest(), None
    read = False
    refusals: list[Any] = []
    try:
        if file.size > settings.size_bytes_max:
            raise Unreadable(f"it has {file.size} bytes; at most {settings.size_bytes_max} are taken")
        data = await place.read(file.name, settings.size_bytes_max + 1)
        if len(data) != file.size:
            session.notes.say(f"{name} changed while it was read; it is taken at the next look")
            return
        digest, read = hashlib.sha256(data).hexdigest(), True
        table, items, places = await asyncio.to_thread(items_of, data, name, settings, schema, digest)
        await _take_rows(session, items, places, tally, refusals)
        unreadable = [
            {"place": f"row {one.number}", "reference": None, "errors": [_malformed(one.message)]}
            for one in table.problems
        ]
        bad = len(table.problems) + table.problems_left_out
        lost = Tally(came=bad, refused=bad)
        for counted in (tally, session.notes.tally, session.unsaved):
            counted.add(lost)
        refusals += unreadable[: REPORTED_MAX - len(refusals)]
        session.notes.refuse(unreadable)
    except Unreadable as error:
        why = str(error)
    await _aside(session, settings, place, file, digest, read, tally, refusals, why)


async def _claimed(session: Session, place: Place, file: Found) -> Found | None:
    """The file under its claimed name; none when it is not the one that was listed."""
    if isinstance(session, Trial) or file.is_claimed:
        return file
    claimed = file.claimed(new_id()[-TOKEN_LENGTH:])
    await place.rename(file.name, claimed.name)
    return claimed if await place.found(claimed.name) == claimed else None


async def _take_rows(
    session: Session, items: list[dict[str, Any]], places: list[str], tally: Tally, refusals: list[Any]
) -> None:
    before = Tally(**vars(session.notes.tally))
    done = 0
    for piece in chunks(items):
        answer = await session.take(piece, places[done : done + len(piece)])
        done += len(piece)
        refusals += answer["rejected"][: REPORTED_MAX - len(refusals)]
        await session.save()
    for name, count in vars(session.notes.tally).items():
        setattr(tally, name, count - getattr(before, name))


async def _aside(
    session: Session,
    settings: FolderSettings | SftpSettings,
    place: Place,
    file: Found,
    digest: str,
    is_content: bool,
    tally: Tally,
    refusals: list[Any],
    why: str | None,
) -> None:
    """Say in the log what became of a file, write its report, move it. digest: of its content (is_content), or of what
    the folder says of it."""
    name = file.own_name
    nothing = tally.refused > 0 and tally.taken + tally.duplicates == 0
    folder = settings.refused if why is not None or nothing else settings.taken
    note = {"name": name, "size_bytes": file.size, "sha256": digest, "to": folder, "why": why, **vars(tally)}
    await session.save()
    if isinstance(session, Trial):
        session.notes.files.append(note)
        return
    session.check()
    if await place.found(file.name) != file:  # whoever wrote it before it was renamed may write on
        session.notes.say(f"{name} changed while it was taken; it is taken again at the next look")
        return
    session.notes.files.append(note)
    to = await place.free(folder, names_aside(name, digest, is_content, new_id()[-TOKEN_LENGTH:]))
    if why is not None or tally.refused:
        await place.put(folder, to + REPORT_ENDING, report(name, now(), tally, why, refusals))
    await place.move(file.name, folder, to)
    note["as"] = to


def _malformed(message: str) -> dict[str, str]:
    return {"code": "MALFORMED", "message": message, "path": ""}
