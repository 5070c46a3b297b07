"""How often a log-in may be tried: failures per (user, address) and per address, in a sliding window.

Called by: store/sessions.py, with the time passed in. Survives a crash: no; a restarted console begins to count anew,
which costs an attacker more than it gives. Memory is bounded: the oldest entries go when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW_S = 300.0
FAILURES_PER_USER_MAX = 5
FAILURES_PER_ADDRESS_MAX = 30
ENTRIES_MAX = 10_000


class LoginLimit:
    """Counts failures; asks for patience when there were too many."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, user: str, address: str, now_s: float) -> float:
        """Seconds until this user may try again from this address; 0 when at once. `now_s` is monotonic."""
        return max(
            self._wait_s(_pair(user, address), FAILURES_PER_USER_MAX, now_s),
            self._wait_s(address, FAILURES_PER_ADDRESS_MAX, now_s),
        )

    def failed(self, user: str, address: str, now_s: float) -> None:
        """Count one failure."""
        for key in (_pair(user, address), address):
            times = self._failures.setdefault(key, deque(maxlen=FAILURES_PER_ADDRESS_MAX))
            times.append(now_s)
            self._failures.move_to_end(key)
        while len(self._failures) > ENTRIES_MAX:
            self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Forget the failures of this user from this address."""
        self._failures.pop(_pair(user, address), None)

    def _wait_s(self, key: str, failures_max: int, now_s: float) -> float:
        times = self._failures.get(key)
        if times is None:
            return 0.0
        while times and now_s - times[0] >= WINDOW_S:
            times.popleft()
        if not times:
            del self._failures[key]
            return 0.0
        if len(times) < failures_max:
            return 0.0
        return WINDOW_S - (now_s - times[-failures_max])


def _pair(user: str, address: str) -> str:
    return f"{user}\n{address}"
