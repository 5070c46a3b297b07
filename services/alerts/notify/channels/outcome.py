"""How an attempt to send a message went. Called by: everything here, sender.py, unstored.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    taken: bool
    status: int | None = None
    error: str = ""
    """For people, without anything of the message."""
    doubt: bool = False
    """It may have been taken all the same: the next attempt is marked as a repeat."""
    retry_after_s: float | None = None
