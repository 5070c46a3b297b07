"""Ending background tasks for certain: the driver of the database may swallow a cancellation that meets it at work."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 1.0


async def cut_off(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks until they have ended; what they raise is not looked at."""
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
