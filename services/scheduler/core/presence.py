"""Which robots have gone silent, on a clock that counts only time in which their beats could have come.

Called by: presence.py, with readings of this process's monotonic clock. Nothing survives a restart: a new process
starts counting from zero, so a robot is never called silent because the scheduler was away.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

STEP_S_MAX = 1.0
"""Most that one reading can add: a process that was stopped for a minute has listened for a second."""


@dataclass
class ListeningClock:
    """Counts the seconds in which broker and database answered and this process was awake."""

    step_s_max: float = STEP_S_MAX
    _listened_s: float = 0.0
    _last_s: float | None = None
    _listening: bool = False

    def read(self, now_s: float, *, listening: bool) -> float:
        """Seconds listened so far.

        now_s: the monotonic clock; listening: whether broker and database answer now. The time since the reading before
        counts only when they answered then, too.
        """
        if self._last_s is not None and self._listening and listening:
            self._listened_s += min(max(now_s - self._last_s, 0.0), self.step_s_max)
        self._last_s, self._listening = now_s, listening
        return self._listened_s


@dataclass
class Stillness:
    """Since when each robot's mark (session and beat) has not changed."""

    _seen: dict[str, tuple[Hashable, float]] = field(default_factory=dict)

    def observe(self, marks: Mapping[str, Hashable], listened_s: float) -> dict[str, float]:
        """Take what the database says now; robots that are no longer in it are forgotten.

        Returns: for each robot, how long its mark has stood still, seconds of the listening clock.
        """
        fresh: dict[str, tuple[Hashable, float]] = {}
        for worker, mark in marks.items():
            before = self._seen.get(worker)
            fresh[worker] = before if before is not None and before[0] == mark else (mark, listened_s)
        self._seen = fresh
        return {worker: listened_s - since for worker, (_, since) in fresh.items()}
