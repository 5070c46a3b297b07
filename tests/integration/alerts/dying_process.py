"""Notify as a process of its own that kills itself with -9 after a numbered step; run by test_notify_faults.py.

A step is a write to the database, or a message that the mail server took. `DIE_AFTER=n`: after the nth; 0: never. At
the end it prints how many steps there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from services.alerts.config import AlertsSettings
from services.alerts.core.telling import Lane
from services.alerts.notify.channels.outcome import Outcome
from services.alerts.notify.message import Message
from services.alerts.notify.service import Notify
from services.alerts.store import AlertStore
from shared.mongo import Mongo
from shared.seal import Sealer

WRITES = ("insert", "update", "find_one_and", "bulk_write", "delete", "replace")


class Steps:
    """Counts steps, and dies after one."""

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0

    def done(self) -> None:
        """A step was done."""
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A database handle whose writes are steps."""

    def __init__(self, mongo: Mongo, steps: Steps) -> None:
        self._mongo, self._steps = mongo, steps

    def __getitem__(self, name: str) -> Any:
        return _Collection(self._mongo[name], self._steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mongo, name)


class _Collection:
    def __init__(self, real: Any, steps: Steps) -> None:
        self._real, self._steps = real, steps

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if not name.startswith(WRITES):
            return real

        async def write(*args: Any, **more: Any) -> Any:
            found = await real(*args, **more)
            self._steps.done()
            return found

        return write


async def main() -> None:
    """Until there is nothing left to do."""
    settings, steps = AlertsSettings(), Steps(int(os.environ["DIE_AFTER"]))  # type: ignore[call-arg]
    mongo: Any = Watched(Mongo(settings.mongo_url, settings.mongo_db), steps)
    notify = Notify(
        mongo, Sealer(settings.master_key_bytes), settings, AlertStore(mongo), leads=lambda: True,
        evaluated_s_ago=lambda: 0.0, evaluate_s=5.0, keep_days=400,
    )  # fmt: skip
    real = notify.channels.send

    async def send(lane: Lane, message: Message) -> Outcome:
        outcome = await real(lane, message)
        steps.done()
        return outcome

    notify.channels.send = send  # type: ignore[method-assign]
    for _ in range(2):
        await notify.planner.sweep()
        await notify.closing.sweep()
        await notify.sender.sweep()
    print(steps.count)
    notify.channels.close()
    await mongo.close()


if __name__ == "__main__":
    asyncio.run(main())
