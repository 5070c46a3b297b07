"""One-time codes from the time: RFC 6238 over RFC 4226, and which moment's code belongs to an instruction.

Called by: services/executor/secrets.py. Survives a crash: the code of an instruction follows from when it was asked,
so another executor that sends it again sends the same bytes and the robot knows it. Change also:
services/console/core/totp.py, which checks what is stored."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

MARGIN_S = 2.0
"""A code is not taken from the last so many seconds of its period: it would be old when it arrives."""
Algorithm = Literal["sha1", "sha256", "sha512"]


@dataclass(frozen=True)
class Totp:
    """What makes the codes."""

    secret: bytes
    digits: int = 6
    period_s: int = 30
    algorithm: Algorithm = "sha1"

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Totp:
        """As a document of kind totp holds it."""
        return cls(
            base64.b32decode(content["secret"]), content["digits"], content["period_s"], content["algorithm"].lower()
        )

    def code(self, at_s: float) -> str:
        """The code of a moment, seconds since 1970 (RFC 6238, 4.2; truncation: RFC 4226, 5.3)."""
        counter = int(at_s) // self.period_s
        digest = hmac.digest(self.secret, counter.to_bytes(8, "big"), self.algorithm)
        offset = digest[-1] & 0x0F
        number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
        return str(number % 10**self.digits).zfill(self.digits)

    def moment_s(self, asked_s: float, now_s: float) -> float:
        """Whose code an instruction carries that was asked at `asked_s`; when it lies ahead, wait until then.

        The moment of asking, or the next period where that one is about to end. It stays the same when the instruction
        is sent again soon (a robot that has done it knows it by its bytes). Later than a period after that, nobody
        would take the code any more: then it is the code of now.
        """
        at_s = self._fresh(asked_s)
        end_s = (at_s // self.period_s + 2) * self.period_s
        return at_s if asked_s <= now_s + self.period_s and now_s < end_s else self._fresh(now_s)

    def _fresh(self, at_s: float) -> float:
        """The moment itself, or the beginning of the next period when less than the margin is left of this one."""
        next_s = (at_s // self.period_s + 1) * self.period_s
        return at_s if next_s - at_s > MARGIN_S else next_s
