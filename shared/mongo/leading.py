"""One leader of a piece of periodic work among equal instances.

Called by: alerts (evaluation, figures, the canary), delivery (retention, erasures). Survives a crash: the lease of the
work; another instance leads within 10 s, with a higher token. Change also: LEADERS, whoever adds a piece of work.

Whoever leads asks `leads` before each step, and writes what must not be done twice by deterministic ids or guarded
updates, so that a leader that froze in the middle of a step does no harm when it goes on: `fence` is the number that
such a write may name.
"""

from __future__ import annotations

from collections.abc import Callable

from pymongo.errors import PyMongoError

from shared.domain.events import EventKind, Severity, event_document
from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.events import raise_event
from shared.mongo.lease import BEAT_S, STILL_S, Lease
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger

EVALUATION, KEEPING = "evaluation", "keeping"
LEADERS = {EVALUATION: "alerts", KEEPING: "delivery"}
"""Every piece of work that one instance does for all, and which service's."""

_log = get_logger(__name__)


class Leading(Lease):
    """The lease of a piece of work: `<work>/leader`. Both that another follows, and that two may have led, are
    events."""

    def __init__(
        self,
        mongo: Mongo,
        work: str,
        instance: str,
        *,
        beat_s: float = BEAT_S,
        still_s: float = STILL_S,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        """work: one of LEADERS. instance: who wants to lead."""
        super().__init__(mongo, f"{work}/leader", instance, beat_s=beat_s, still_s=still_s, clock=clock)
        self.work = work

    @property
    def leads(self) -> bool:
        """Whether this instance leads now: nobody can have taken over yet. Asked before each step of the work."""
        return self.fresh

    @property
    def fence(self) -> int:
        """Rises with each leader: a write that names it is refused once another leads."""
        return self.token

    async def _followed(self, owner: str) -> None:
        await self._raise(
            EventKind.LEADER_REPLACED, Severity.WARNING, self.token,
            f"{self.owner} leads {self.work}: {owner} did not beat for {self._still_s:.0f} s", {"before": owner},
        )  # fmt: skip

    async def _lost(self, held_s: float) -> None:
        await self._raise(
            EventKind.TWO_LEADERS, Severity.WARNING, self.token + 1,
            f"{self.owner} stood still for {held_s:.1f} s while it led {self.work}; another leads since then, and what "
            "both did is there once",
            {"stood_still_s": round(held_s, 1)},
        )  # fmt: skip

    async def _raise(
        self, kind: EventKind, severity: Severity, token: int, text: str, facts: dict[str, object]
    ) -> None:
        event = event_document(
            kind, id=f"{kind}/{self.name}/{token}", at=now(), service=LEADERS[self.work], severity=severity,
            target=self.name, text=text, facts={"work": self.work, "instance": self.owner, "token": token, **facts},
        )  # fmt: skip
        try:
            await raise_event(self._mongo, event)
        except (TemporaryError, PyMongoError) as error:
            _log.warning("event not stored", kind=kind.value, text=text, reason=first_line(error))
