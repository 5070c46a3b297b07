"""A clock that stands still until a test turns it.

Called by: tests and the simulator, wherever a `clock` is an argument. Survives a crash: nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time as numbers and as datetimes, both moved by `advance`. Calling it gives the monotonic seconds."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def __call__(self) -> float:
        return self._elapsed_s

    def monotonic_s(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_s

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises: ValueError when it should go back."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._elapsed_s += seconds
