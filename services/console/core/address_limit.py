"""How much one address may ask for in a sliding window.

Called by: pages/decision_link.py, with the time passed in. Survives a crash: no; a restarted console counts anew.
Memory is bounded: the addresses that were quiet longest go when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict, deque

ADDRESSES_MAX = 10_000


class AddressLimit:
    """Counts per address; `most` in `window_s` seconds are allowed."""

    def __init__(self, most: int, window_s: float) -> None:
        self._most, self._window_s = most, window_s
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float:
        """Seconds until this address may ask again; 0 when at once. `now_s` is monotonic."""
        times = self._times.get(address)
        if times is None or len(times) < self._most:
            return 0.0
        return max(0.0, self._window_s - (now_s - times[0]))

    def count(self, address: str, now_s: float) -> None:
        """Note one request; only the last `most` matter."""
        times = self._times.setdefault(address, deque(maxlen=self._most))
        times.append(now_s)
        self._times.move_to_end(address)
        while len(self._times) > ADDRESSES_MAX:
            self._times.popitem(last=False)
