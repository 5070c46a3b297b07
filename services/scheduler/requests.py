"""Durable requests to the scheduler: about tasks (task_requests.py, bulk.py), workflows and robots (robots.py).

Called by: handlers.py (hints), main.py (sweep). Survives a crash: a request stays `pending` until it is ended; doing it
twice is the same as once, because every write carries the request's id as its operation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.scheduler.hints import Hints
from services.scheduler.store.requests import RequestStore
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.obs.logs import get_logger
from shared.runtime.commands import finish

TRIES = 5
"""How often a document is read anew when others change it at the same time."""
LATER_S = 0.5
SOON_CLAIMS_MAX = 4
"""Tries that come soon after one another; later ones come ever more rarely, as every request's do."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Answer:
    """How a request ended."""

    done: bool
    reason: str | None = None


@dataclass(frozen=True)
class Later:
    """It can't be done right now; look again after `delay_s`."""

    delay_s: float = LATER_S


@dataclass(frozen=True)
class Elsewhere:
    """Another service owns the edge: the request goes there, still pending."""

    to: str


@dataclass(frozen=True)
class InHand:
    """Another worker is at it, or this one goes on with it at the next look."""


Outcome = Answer | Later | Elsewhere | InHand
Work = Callable[[Mapping[str, Any]], Awaitable[Outcome]]
DONE = Answer(done=True)


def refused(code: ErrorCode, text: str) -> Answer:
    """The answer to a request that can't be granted."""
    return Answer(done=False, reason=f"{code}: {text}")


class Requests:
    """Works requests and stores how they ended."""

    def __init__(self, mongo: Mongo, hints: Hints, routes: Mapping[str, Work]) -> None:
        self._mongo = mongo
        self._hints = hints
        self._routes = routes
        self._store = RequestStore(mongo)

    async def work(self, id: str) -> None:
        """Work one request, if it still waits for the scheduler."""
        command = await self._store.command(id)
        if command is None or command["state"] != "pending" or command["to"] != "scheduler":
            return
        route = self._routes.get(command["kind"])
        if route is None:
            outcome: Outcome = refused(ErrorCode.UNKNOWN_COMMAND, f"the scheduler knows no {command['kind']}")
        else:
            outcome = await route(command)
        match outcome:
            case Answer():
                await finish(self._mongo, id, "done" if outcome.done else "refused", outcome.reason)
                log.info("request_ended", command=id, kind=command["kind"], target=command["target"], done=outcome.done,
                         reason=outcome.reason)  # fmt: skip
            case Later():
                if command["claims"] < SOON_CLAIMS_MAX:
                    await self._store.put_off(id, outcome.delay_s)
            case InHand():
                pass
            case Elsewhere():
                if await self._store.readdress(id, outcome.to):
                    self._hints.command(id, outcome.to)
