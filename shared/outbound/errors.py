"""What can go wrong with a call to another system; the tree is drawn in __init__.py. Called by: everything here."""

from __future__ import annotations

from typing import Literal

RefusedCode = Literal["NOT_FOUND", "NOT_ALLOWED", "BAD_ARGUMENT"]


class OutboundError(Exception):
    """Base. `message`: for people, without anything of what was to be sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refused(OutboundError):
    """Nothing was sent."""

    def __init__(self, code: RefusedCode, message: str) -> None:
        super().__init__(message)
        self.code: RefusedCode = code


class TooLarge(OutboundError):
    """The answer is larger than what is taken; the request was carried out."""


class BadBody(OutboundError):
    """The answer's body is broken, or packed in a way that was not asked for; the request was carried out."""


class Broken(OutboundError):
    """No connection, or it broke."""

    def __init__(self, message: str, *, sent: bool, timeout: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        """Some of the request may have reached its server."""
        self.timeout = timeout
        """It was no connection within its time."""
