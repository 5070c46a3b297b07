"""Whether a robot that makes contact is the one that we know: its journal and its sessions.

Called by: presence.py (heartbeats) and enrolment.py. A journal that went back or was replaced, or a second process with
the same key, means a restored or cloned machine; such a robot is unauthorised until a person says yes again.

Heartbeats travel through a queue and several schedulers read it, so one may be handled late: what looks old is ignored
at first, and only becomes a doubt when it goes on coming for longer than a beat can lie in the queue (`Suspicions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

SESSIONS_GONE_MAX = 20
"""Ended sessions of a robot that are remembered."""
SUSPICION_S = 15.0
"""How long old contacts must go on before they are a doubt: more than a heartbeat's life in its queue (10 s)."""
SUSPICION_GAP_S = 10.0
"""A pause this long between two old contacts starts the count anew."""


@dataclass(frozen=True)
class Known:
    """What is stored about a robot's last contact; all of it is none after a person authorised it."""

    session: str | None = None
    sessions_gone: Sequence[str] = ()
    journal: str | None = None
    counter: int | None = None
    beat: int | None = None


@dataclass(frozen=True)
class Contact:
    """What a robot says about itself now."""

    session: str
    journal: str
    counter: int
    beat: int | None = None
    """None: it enrols, over HTTP, so nothing about this contact can be late."""


class Standing(StrEnum):
    """What a contact is worth."""

    NEWS = "news"
    """It is the robot's latest; store it."""
    OLD = "old"
    """Older than what is stored: ignore it, unless it goes on coming."""
    DOUBT = "doubt"
    """Not the robot that was authorised, or not alone."""


@dataclass(frozen=True)
class Judgement:
    """What follows from a contact."""

    standing: Standing
    doubt: str = ""
    """What to tell people; empty unless DOUBT."""


_NEWS = Judgement(Standing.NEWS)
_OLD = Judgement(Standing.OLD)


def judge(known: Known, contact: Contact, *, suspicious_for_s: float = 0.0) -> Judgement:
    """What a contact is worth beside what is known.

    `suspicious_for_s`: how long contacts of this session have been OLD without a newer one between them.
    """
    if known.journal is not None and contact.journal != known.journal:
        return _doubt("its journal was replaced by another one: it was reinstalled, or another machine has its key")
    late = contact.beat is not None and suspicious_for_s < SUSPICION_S
    if contact.session in known.sessions_gone and contact.session != known.session:
        return _OLD if late else _doubt("two agents with the same key are running: the machine may have been cloned")
    if contact.session == known.session:
        return _same_session(known, contact, late=late)
    if _lower(contact.counter, known.counter):
        return _doubt("its journal went back to an earlier state: the machine may have been restored from a copy")
    return _NEWS


def _same_session(known: Known, contact: Contact, *, late: bool) -> Judgement:
    """Within one process everything only grows, but messages may overtake one another."""
    behind = contact.beat is not None and known.beat is not None and contact.beat <= known.beat
    if not behind and not _lower(contact.counter, known.counter):
        return _NEWS
    if late:
        return _OLD
    return _doubt("it went back to an earlier state while it ran: the machine may have been restored from a copy")


def sessions_gone(known: Known, session: str) -> list[str]:
    """The ended sessions once `session` is the robot's current one, newest last."""
    gone = [one for one in known.sessions_gone if one != session]
    if known.session is not None and known.session != session:
        gone = [one for one in gone if one != known.session] + [known.session]
    return gone[-SESSIONS_GONE_MAX:]


def _lower(counter: int, known: int | None) -> bool:
    return known is not None and counter < known


def _doubt(text: str) -> Judgement:
    return Judgement(Standing.DOUBT, text)


@dataclass
class Suspicions:
    """How long each (robot, session) has made only old contacts, on the caller's clock. Bounded by `size_max`."""

    size_max: int = 10_000
    _since: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def standing_for_s(self, worker: str, session: str, now_s: float) -> float:
        """How long, counting a contact that is being judged at `now_s`."""
        found = self._since.get((worker, session))
        if found is None or now_s - found[1] > SUSPICION_GAP_S:
            return 0.0
        return now_s - found[0]

    def note(self, worker: str, session: str, standing: Standing, now_s: float) -> None:
        """Remember how a contact was judged: OLD goes on, anything else clears."""
        key = (worker, session)
        if standing is not Standing.OLD:
            self._since.pop(key, None)
            return
        first, last = self._since.pop(key, (now_s, now_s))
        self._since[key] = (now_s if now_s - last > SUSPICION_GAP_S else first, now_s)
        if len(self._since) > self.size_max:
            self._since.pop(next(iter(self._since)))
