"""The dead man's switch: tells an outside address, again and again, that people would be told of alerts.

Called by: service.py. It begins before broker and database are there and needs neither. Who listens outside (a service
for such beats, or another Regente's) raises the alarm when no beat comes; so nothing is sent when in doubt. Where a
second address is set, it is told why there is no beat. Survives a crash: nothing; silence is the message.

Of several instances the one that leads the evaluation beats, and any that sees that people can't be told says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.alerts.notify.channels.web import JSON_TYPE, Poster
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge

POST_TIMEOUT_S = 10.0
LOOK_TIMEOUT_S = 15.0
OK = gauge("alerts_beat_ok", "1 while this instance finds that people would be told of alerts.")
BEATS = counter("alerts_beats_total", "Beats to the outside, by whether they were taken.", ["what", "taken"])
log = get_logger(__name__)


@dataclass(frozen=True)
class Able:
    """Whether people would be told."""

    leads: bool
    """This instance evaluates the rules."""
    problems: Sequence[str] = ()
    """Why they would not be."""


class Beat:
    """Beats."""

    def __init__(
        self, poster: Poster, able: Callable[[], Awaitable[Able]], *, url: str, fail_url: str, interval_s: float,
        instance: str,
    ) -> None:  # fmt: skip
        """url, fail_url: empty for none. able: looks; it may raise, which is a problem like others."""
        self._poster = poster
        self._able = able
        self._url = url
        self._fail_url = fail_url
        self._interval_s = interval_s
        self._instance = instance
        self._said: tuple[str, ...] | None = None
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    def start(self) -> None:
        """Begin, also without an address: the metric says how it stands."""
        self._ending = False
        self._task = asyncio.get_running_loop().create_task(self._work(), name="beat")

    async def stop(self) -> None:
        """End."""
        self._ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def once(self) -> Able:
        """Look, and say what was found."""
        able = await self._look()
        OK.set(not able.problems)
        if able.problems:
            await self._post("fail", self._fail_url, able)
        elif able.leads:
            await self._post("ok", self._url, able)
        self._tell(able)
        return able

    async def _work(self) -> None:
        while not self._ending:
            try:
                await self.once()
            except Exception:
                log.exception("no beat")
            await asyncio.sleep(self._interval_s)

    async def _look(self) -> Able:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                return await self._able()
        except Exception as error:
            return Able(False, (f"it can't be looked at: {type(error).__name__}",))

    async def _post(self, what: str, url: str, able: Able) -> None:
        if not url:
            return
        body = {
            "service": "alerts", "instance": self._instance, "at": now().isoformat(), "ok": not able.problems,
            "problems": list(able.problems),
        }  # fmt: skip
        sent = {"content-type": JSON_TYPE}
        outcome = await self._poster.post(url, json.dumps(body).encode(), sent, own=True, timeout_s=POST_TIMEOUT_S)
        BEATS.labels(what, str(outcome.taken).lower()).inc()
        if not outcome.taken:
            log.warning("beat not taken", what=what, reason=outcome.error)

    def _tell(self, able: Able) -> None:
        said = tuple(able.problems)
        if said and said != self._said:
            log.warning("people would not be told of alerts", problems=list(said))
        elif not said and self._said:
            log.info("people would be told of alerts again")
        self._said = said
