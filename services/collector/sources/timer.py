"""Times that make tasks.

Called by: keeper.py. Survives a crash: a time's task has a reference made of the timer's name and the time; `fired`, up
to where all times are done with, moves after the task is stored.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from services.collector.core.timers import firing, timer_item
from services.collector.sources.session import Session
from shared.intake.source_settings import TimerSettings


async def look(session: Session, now: datetime) -> bool:
    """Make the task of the newest time that has come, and note those that were missed. Raises: as Session's methods."""
    settings = session.settings
    assert isinstance(settings, TimerSettings)
    since = fired_until(session.source)
    found = await asyncio.to_thread(firing, settings, since, now)  # of a time long ago it takes a moment
    if found.task_at is not None:
        await session.take([timer_item(session.name, settings, found.task_at)])
    if found.missed is not None:
        session.notes.missed = found.missed
    await session.save(fired=found.handled_until)
    return False


def fired_until(source: dict[str, Any]) -> datetime:
    """Up to where a timer's times are done with: those before it was switched on never count."""
    at: datetime = max(source["since"], source.get("fired") or source["since"])
    return at.astimezone(UTC)
