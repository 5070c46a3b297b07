"""How many requests one sender may make: a bucket of tokens each, refilled by time.

Called by: api.py. Pure: the clock's reading is an argument. Nothing survives a restart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SENDERS_MAX = 10_000


@dataclass
class Buckets:
    """Token buckets by sender; the sender that was quiet longest is forgotten first."""

    per_s: float
    """Requests per second in the long run."""
    burst: int
    """Requests at once."""
    senders_max: int = SENDERS_MAX
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, sender: str, now_s: float) -> bool:
        """Whether `sender` may make a request at `now_s` of a monotonic clock; counts it if so."""
        level, last_s = self._levels.pop(sender, (float(self.burst), now_s))
        level = min(float(self.burst), level + max(0.0, now_s - last_s) * self.per_s)
        allowed = level >= 1.0
        self._levels[sender] = (level - 1.0 if allowed else level, now_s)
        if len(self._levels) > self.senders_max:
            self._levels.pop(next(iter(self._levels)))
        return allowed
