"""What a robot that enrols is told, and what is remembered of it.

Called by: api.py through robots.py. Rule: nobody is trusted by default. A new robot is pending until a person says yes;
another key for a known robot changes nothing about it but the doubt, and the doubt takes its authorisation away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.scheduler.core.contact import Contact, Known, Standing, judge
from shared.domain.worker_state import Authorisation

OTHER_KEY = "somebody tried to enrol under its address with another key"


class Answer(StrEnum):
    """What the robot is told."""

    PENDING = "pending"
    """Ask again later: a person has to authorise it."""
    AUTHORISED = "authorised"
    """Here is the broker, and how to log in."""
    REFUSED = "refused"
    """No; `detail` says why and what a person can do."""


@dataclass(frozen=True)
class Decision:
    """What follows from a request to enrol."""

    answer: Answer
    detail: str = ""
    """For the robot's log, when refused."""
    insert: bool = False
    """It is new: make its document."""
    refresh: bool = False
    """Store what it says about itself."""
    doubt: str | None = None
    """Record this doubt, and take the authorisation away if it has one."""


def known_of(worker: Mapping[str, Any]) -> Known:
    """What a robot's document says about its last contact."""
    journal = worker.get("journal") or {}
    seen = worker.get("seen") or {}
    return Known(
        session=worker.get("session"),
        sessions_gone=tuple(worker.get("sessions_gone") or ()),
        journal=journal.get("id"),
        counter=journal.get("counter"),
        beat=seen.get("beat"),
    )


def decide(worker: Mapping[str, Any] | None, *, key_hash: str, contact: Contact) -> Decision:
    """What follows when a robot enrols.

    worker: its document, or none; key_hash: of the key it shows; contact: who it says it is.
    """
    if worker is None:
        return Decision(Answer.PENDING, insert=True)
    if worker["key_hash"] != key_hash:
        detail = (
            "this address is enrolled with another key. If the robot was installed anew, remove it "
            f"(regente worker remove {worker['_id']}) and start its agent again"
        )
        return Decision(Answer.REFUSED, detail=detail, doubt=OTHER_KEY)
    authorisation = Authorisation(worker["authorisation"])
    if authorisation is Authorisation.PENDING:
        return Decision(Answer.PENDING, refresh=True)
    if authorisation is Authorisation.REVOKED:
        return Decision(Answer.REFUSED, detail=_revoked(worker))
    judgement = judge(known_of(worker), contact)
    if judgement.standing is Standing.NEWS:
        return Decision(Answer.AUTHORISED, refresh=True)
    doubt = judgement.doubt or "its journal is older than what it said before"
    return Decision(Answer.REFUSED, detail=f"{doubt}; a person has to authorise it again", doubt=doubt)


def _revoked(worker: Mapping[str, Any]) -> str:
    """Why a revoked robot is refused, in words that say what a person can do."""
    doubt = (worker.get("doubt") or {}).get("reason")
    why = f"it was unauthorised because {doubt}" if doubt else "a person revoked it"
    return f"{why}. To let it work, authorise it again (regente worker authorise {worker['_id']})"
