"""When a waiting task will start and end, as far as what was measured tells.

Called by: shared.mongo.waiting (why a task waits, and for how long). Pure: the moment and all measures are arguments;
nothing lives here. Change also: gates.py and the scheduler's order, when they let work through by another rule.

How it reckons: robots do the work in front of the task, so many robot-seconds per second in which the workflow is open;
its own tasks in front are spread evenly over that work. Each of them uses up room of the blocking limits as it is done;
with no room left, own tasks wait for the next period, while the robots go on with the work of other workflows. The task
starts when nothing is left in front of it, there is room for one more, and it is open. More work in front, more used or
fewer robots never make it earlier.

What is left out: the start is later than said when work that arrives later goes first, or tasks are tried again. It
is earlier when other workflows' work is done while this one is closed. All robots are taken to be free from
`busy_until_s` on; with several that are busy that is somewhat too early. Limits of other workflows are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

from shared.domain.calendar import HORIZON, Calendar, closes_at, opens_at
from shared.domain.limits import Limit, aware, period_ends

STEPS_MAX = 2000
NOTHING = 1e-6
"""Seconds or tasks; less than this is what fractions leave behind."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Inputs:
    """What is known about a waiting task. Times and counts below 0 are taken for 0."""

    now: datetime
    """With its zone."""
    calendar: Calendar | None = None
    """Of its workflow; none: always open."""
    ahead_work_s: float = 0.0
    """Robot-seconds of work in front of it, over all workflows that share its robots, its own included."""
    ahead_own: int = 0
    """Tasks of its own workflow in front of it."""
    robots: int = 0
    """That may run it and are taking work; for a scenario without a robot: how many runs may be at once."""
    busy_until_s: float = 0.0
    """Seconds until the first of them is expected to be free; 0: one is."""
    task_s: float | None = None
    """How long a task of its workflow takes; none: nothing was measured."""
    overhead_s: float | None = None
    """What a run takes besides; none: nothing was measured, taken for 0."""
    limits: tuple[tuple[Limit, int], ...] = ()
    """Of its workflow, with how much is used in the period of `now`."""
    zone: str = "UTC"
    """Whose clock these limits go by."""
    account_limits: tuple[tuple[Limit, int], ...] = ()
    """Of its account, likewise; only tasks of its own workflow are taken to use them up."""
    account_zone: str = "UTC"
    runs_max: int | None = None
    """Runs of its workflow at once; none: as robots are free."""
    deadline: datetime | None = None
    held: bool = False
    """Whether a person must act before it can start."""


@dataclass(frozen=True)
class Forecast:
    """When a task should start and end."""

    starts_at: datetime | None
    """UTC; none: nobody can say."""
    ends_at: datetime | None
    deadline_kept: bool | None
    """None: it has no deadline, or nobody can say."""
    text: str
    """One sentence for people, without a full stop."""


@dataclass
class _Counter:
    """Room that a blocking limit leaves in a period."""

    limit: Limit
    zone: str
    left: float
    ends: datetime

    def move_to(self, at: datetime) -> None:
        """Begin a new period if this one is over."""
        if at >= self.ends:
            self.left, self.ends = self.limit.max, period_ends(self.limit.per, at, self.zone)


def forecast(inputs: Inputs) -> Forecast:
    """When the task should start and end, and whether that is before its deadline.

    Raises: ValueError when `now` has no zone or a zone is unknown.
    """
    now = aware(inputs.now).astimezone(UTC)
    if inputs.held:
        return _unknown(inputs, now, "a person must act first")
    if _capacity(inputs) <= 0:
        return _unknown(inputs, now, "no robot may run it")
    if inputs.task_s is None:
        return _unknown(inputs, now, "nothing measured yet for this workflow")
    walk = _Walk(inputs, now)
    why = walk.go()
    if why is not None:
        return _unknown(inputs, walk.at, why)
    takes_s = max(inputs.task_s, 0.0) + max(inputs.overhead_s or 0.0, 0.0)
    ends = walk.at + timedelta(seconds=takes_s)
    kept = None if inputs.deadline is None else ends <= inputs.deadline
    return Forecast(walk.at, ends, kept, _sentence(walk.at, ends, inputs.deadline))


class _Walk:
    """The way from now to the start, step by step; in each step either nothing changes, or work is done evenly."""

    def __init__(self, inputs: Inputs, now: datetime) -> None:
        self.at = now + timedelta(seconds=min(max(inputs.busy_until_s, 0.0), HORIZON.total_seconds()))
        self._last = now + HORIZON
        self._calendar = inputs.calendar or Calendar()
        self._open_until = self.at
        self._rate = _capacity(inputs)
        self._own = float(max(inputs.ahead_own, 0))
        self._per_own_s, self._others_s = _shares(inputs)
        self._counters = [
            _Counter(limit, zone, max(limit.max - used, 0), period_ends(limit.per, now, zone))
            for limits, zone in ((inputs.limits, inputs.zone), (inputs.account_limits, inputs.account_zone))
            for limit, used in limits
            if limit.blocks
        ]

    def go(self) -> str | None:
        """Walk until the task can start, `at`; or return why nobody can say when that is."""
        for _ in range(STEPS_MAX):
            if self.at >= self._last:
                return f"it would not start within {HORIZON.days} days"
            if not self._opened():
                self.at = self._last
                return f"its workflow does not open within {HORIZON.days} days"
            for counter in self._counters:
                counter.move_to(self.at)
            if self._step():
                return None
        return f"too much is in front of it to look further than {_moment(self.at)}"

    def _opened(self) -> bool:
        """Go on to where it is open; false: that never comes."""
        if self.at < self._open_until:
            return True
        opens = opens_at(self._calendar, self.at)
        if opens is None:
            return False
        self.at, self._open_until = opens, closes_at(self._calendar, opens) or max(self._last, opens + MINUTE)
        return True

    def _step(self) -> bool:
        """One step onwards; true: the task can start where it stands."""
        left = min((counter.left for counter in self._counters), default=inf)
        if left <= NOTHING:
            self._wait()
        elif self._work_s() <= NOTHING:
            return self._take_at_once(left)
        else:
            self._work(left)
        return False

    def _work_s(self) -> float:
        return self._others_s + self._own * self._per_own_s

    def _wait(self) -> None:
        """No room: on to the next period; if others' work is in front, the robots do that in the meantime."""
        release = max(counter.ends for counter in self._counters if counter.left <= NOTHING)
        if self._others_s <= NOTHING:
            self.at = release
            return
        until = min(release, self._open_until)
        done_s = self._rate * (until - self.at).total_seconds()
        self._others_s = max(self._others_s - done_s, 0.0)
        self.at = until

    def _take_at_once(self, left: float) -> bool:
        """Nothing in front takes time; own tasks that take none still need room."""
        if self._own <= NOTHING:
            return True
        self._use(min(self._own, left))
        return False

    def _work(self, left: float) -> None:
        """Work until all is done, room is used up, it closes or a period ends, whichever is first."""
        work_s = self._work_s()
        part = min(1.0, left / self._own) if self._own > NOTHING else 1.0
        takes = part * work_s / self._rate
        until = min((counter.ends for counter in self._counters), default=self._last)
        until = min(until, self._open_until)
        within_s = (until - self.at).total_seconds()
        if takes > within_s:
            part, self.at = within_s * self._rate / work_s, until
        else:
            self.at += timedelta(seconds=takes)
        self._use(self._own * part)
        self._others_s *= 1.0 - part

    def _use(self, tasks: float) -> None:
        self._own -= tasks
        for counter in self._counters:
            counter.left -= tasks


def _capacity(inputs: Inputs) -> int:
    """How many robots may work on it at once."""
    return inputs.robots if inputs.runs_max is None else min(inputs.robots, inputs.runs_max)


def _shares(inputs: Inputs) -> tuple[float, float]:
    """Seconds of one own task in front, and of the work in front that is not its workflow's own."""
    work_s, own = max(inputs.ahead_work_s, 0.0), max(inputs.ahead_own, 0)
    if own == 0:
        return 0.0, work_s
    takes_s = max(inputs.task_s or 0.0, 0.0) + max(inputs.overhead_s or 0.0, 0.0)
    per_own_s = min(takes_s, work_s / own)
    return per_own_s, max(work_s - own * per_own_s, 0.0)


def _unknown(inputs: Inputs, after: datetime, why: str) -> Forecast:
    """No forecast. after: it does not start before this, so a deadline until then is not kept."""
    missed = inputs.deadline is not None and inputs.deadline <= after
    return Forecast(None, None, False if missed else None, f"nobody can say: {why}")


def _sentence(starts: datetime, ends: datetime, deadline: datetime | None) -> str:
    by = _moment(ends + MINUTE - timedelta(microseconds=1))
    if by[:10] == _moment(starts)[:10]:
        by = by[11:]
    said = f"it should start at about {_moment(starts)} and end by {by}"
    if deadline is None:
        return said
    return f"{said}, before its deadline" if ends <= deadline else f"{said}, after its deadline of {_moment(deadline)}"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
