"""Questions that scripts ask people: their states, their addresses, and which answers they take.

Called by: executor (asks, validates, wakes the run), console (shows them, refuses early what the executor would
refuse). Pure. Change also: ARCHITECTURE.md (decisions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from shared.domain.task_view import moment

ANSWER_LENGTH_MAX = 1000
PURPOSE = "decision"
"""What the token of a decision's link derives for (shared.seal)."""
ASKED = "decision"
"""The event of a question, where events of tasks are chosen by name; its webhook's type is `decision.asked`."""
LINK = "link"
"""Who answered, when it was done without a log-in."""
_ADDRESS = re.compile(r"[A-Za-z0-9_]{1,80}\.[0-9]{8}")


class DecisionState(StrEnum):
    """Where a question stands. All but `open` are final."""

    OPEN = "open"
    """It waits for an answer."""
    ANSWERED = "answered"
    """A person answered."""
    EXPIRED = "expired"
    """Nobody answered in time: the script went on with its default, or with an error."""
    WITHDRAWN = "withdrawn"
    """Its run ended before anybody answered."""


def address_of(id: str) -> str:
    """A decision's id as it stands in addresses: `<run>/<seq>` is written `<run>.<seq>`."""
    return id.replace("/", ".")


def question_view(decision: Mapping[str, Any], *, console_url: str, token: str) -> dict[str, Any]:
    """A question as a partner sees it. token: of its link, under which whoever has it may answer; it is for people."""
    address = address_of(str(decision["_id"]))
    return {
        "id": address,
        "workflow": decision["workflow"],
        "question": decision["question"],
        "options": list(decision.get("options") or ()),
        "default": decision.get("default"),
        "asked_at": moment(decision["asked_at"]),
        "due_at": moment(decision.get("due_at")),
        "answer_url": link_url(console_url, address, token),
    }


def link_url(console_url: str, address: str, token: str) -> str:
    """Where a question is answered without a log-in."""
    return f"{console_url.rstrip('/')}/d/{address}?t={token}"


def id_of(address: str) -> str | None:
    """The id behind an address; none when it can't be one."""
    return address.replace(".", "/") if _ADDRESS.fullmatch(address) else None


def refusal(decision: Mapping[str, Any], answer: str) -> str | None:
    """Why a decision (its document) does not take this answer, or none when it does. Lateness is the owner's to say."""
    if decision["state"] != DecisionState.OPEN:
        return f"the decision is {decision['state']} already"
    if not answer.strip():
        return "an answer is not empty"
    if len(answer) > ANSWER_LENGTH_MAX:
        return f"an answer has at most {ANSWER_LENGTH_MAX} characters"
    options = decision.get("options") or []
    if options and answer not in options:
        return f"the answer is one of: {', '.join(str(one) for one in options)}"
    return None
