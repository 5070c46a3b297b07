"""A forecast is what one gets by walking through time bin by bin; what is worse for a task never makes it earlier."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.domain.calendar import Calendar, Closure, Window, is_open
from shared.domain.forecast import Forecast, Inputs, forecast
from shared.domain.limits import Limit, period

WEEK = frozenset({"mon", "tue", "wed", "thu", "fri", "sat", "sun"})
NOW = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)
BEFORE_CHANGE = datetime(2018, 11, 3, 12, 0, tzinfo=UTC)  # Sao Paulo's clock goes forward at midnight
BIN_S = 60
WALKED_BINS = 3 * 1440
SLACK = timedelta(milliseconds=10)

hours = st.integers(0, 23)
calendars = st.builds(
    lambda zone, windows, holidays, closed: Calendar(
        zone,
        tuple(Window(WEEK, 60 * start, 60 * end) for start, end in windows),
        holidays,
        tuple(Closure(NOW + timedelta(minutes=at), NOW + timedelta(minutes=at + long), "away") for at, long in closed),
    ),
    st.sampled_from(["UTC", "America/Sao_Paulo"]),
    st.lists(st.tuples(hours, hours), max_size=2),
    st.frozensets(st.sampled_from([date(2026, 11, 26), date(2018, 11, 4)]), max_size=1),
    st.lists(st.tuples(st.integers(0, 600), st.integers(1, 600)), max_size=1),
)


@st.composite
def counted(draw: st.DrawFn) -> tuple[tuple[Limit, int], ...]:
    pers = draw(st.lists(st.sampled_from(["hour", "day"]), max_size=2, unique=True))
    made = []
    for per in pers:
        most = draw(st.integers(1, 12))
        made.append((Limit(per, most, (), draw(st.sampled_from([True, True, False]))), draw(st.integers(0, most + 1))))
    return tuple(made)


@st.composite
def waiting(draw: st.DrawFn) -> Inputs:
    """A small case: at most some hours of work in front."""
    task_s, overhead_s = draw(st.integers(1, 1200)), draw(st.integers(0, 120))
    own, others_s = draw(st.integers(0, 30)), draw(st.sampled_from([0, 1, 60_000]) | st.integers(0, 60_000))
    return Inputs(
        now=draw(st.sampled_from([NOW, BEFORE_CHANGE])) + timedelta(minutes=draw(st.integers(0, 1440))),
        calendar=draw(st.none() | calendars),
        ahead_work_s=own * (task_s + overhead_s) + others_s,
        ahead_own=own,
        robots=draw(st.integers(1, 4)),
        busy_until_s=60.0 * draw(st.integers(0, 90)),
        task_s=task_s,
        overhead_s=overhead_s,
        limits=draw(counted()),
        zone=draw(st.sampled_from(["UTC", "America/Sao_Paulo"])),
        account_limits=draw(st.just(()) | counted()),
        runs_max=draw(st.none() | st.integers(1, 3)),
    )


class _Slow:
    """The obvious model: go from bin to bin, look whether it is open and what the counters of this period say, and do
    a bin's work, own and others' in proportion."""

    def __init__(self, inputs: Inputs) -> None:
        assert inputs.task_s is not None
        self.inputs = inputs
        self.own = float(inputs.ahead_own)
        self.each_s = inputs.task_s + (inputs.overhead_s or 0)
        self.others_s = inputs.ahead_work_s - self.own * self.each_s
        self.budget_s = BIN_S * min(inputs.robots, inputs.runs_max or inputs.robots)
        self.limits = [
            (k, limit, used, zone)
            for k, (limits, zone) in enumerate(
                [(inputs.limits, inputs.zone), (inputs.account_limits, inputs.account_zone)]
            )
            for limit, used in limits
            if limit.blocks
        ]
        self.used = {(k, period(one.per, inputs.now, zone)): float(used) for k, one, used, zone in self.limits}

    def start(self) -> datetime | None:
        at = self.inputs.now + timedelta(seconds=self.inputs.busy_until_s)
        for _ in range(WALKED_BINS):
            if is_open(self.inputs.calendar or Calendar(), at) and self._bin(at):
                return at
            at += timedelta(seconds=BIN_S)
        return None

    def _bin(self, at: datetime) -> bool:
        keys = [(k, period(one.per, at, zone)) for k, one, _, zone in self.limits]
        left = min(
            (one.max - self.used.get(key, 0) for key, (_, one, _, _) in zip(keys, self.limits, strict=True)),
            default=1e9,
        )
        work_s = self.own * self.each_s + self.others_s
        if work_s < 1e-6:
            return left > 1e-6
        part = min(1.0, self.budget_s / work_s)
        tasks = max(min(self.own * part, left), 0.0)
        self.own -= tasks
        self.others_s = max(self.others_s - max(self.budget_s - tasks * self.each_s, 0.0), 0.0)
        for key in keys:
            self.used[key] = self.used.get(key, 0) + tasks
        return False


@given(waiting())
@settings(max_examples=150, deadline=None)
def test_it_starts_when_walking_from_bin_to_bin_would_start_it(inputs: Inputs) -> None:
    slow = _Slow(inputs)
    found, wanted = forecast(inputs).starts_at, slow.start()
    last = inputs.now + timedelta(seconds=inputs.busy_until_s + WALKED_BINS * BIN_S)
    if wanted is None:
        assert found is None or found >= last - timedelta(seconds=BIN_S)
        return
    # What is left of the last bin may be what is missing to start before it closes or a period ends: so less or more
    # work, by a bin's, bounds it, and mostly to a bin exactly.
    bounds = [forecast(replace(inputs, ahead_work_s=max(inputs.ahead_work_s + k * slow.budget_s, 0))) for k in (-1, 1)]
    assert found is not None
    first, last = bounds[0].starts_at, bounds[1].starts_at
    assert first is not None
    assert last is not None
    assert first - SLACK <= wanted <= last + SLACK + timedelta(seconds=BIN_S)
    if last - first <= timedelta(seconds=2 * BIN_S):
        assert timedelta() <= wanted - found + SLACK < timedelta(seconds=BIN_S) + 2 * SLACK


@given(
    minutes=st.sampled_from([5, 10, 15, 20, 30]),
    own=st.integers(0, 40),
    robots=st.integers(1, 3),
    most=st.none() | st.integers(1, 14),
    used=st.integers(0, 14),
    per=st.sampled_from(["hour", "day"]),
    window=st.none() | st.tuples(hours, hours),
)
@example(minutes=10, own=13, robots=1, most=5, used=2, per="hour", window=None)
@example(minutes=30, own=40, robots=1, most=None, used=0, per="day", window=(9, 17))
@example(minutes=30, own=40, robots=2, most=None, used=0, per="day", window=(20, 2))
@example(minutes=5, own=40, robots=1, most=7, used=0, per="hour", window=(22, 1))
@settings(max_examples=150, deadline=None)
def test_it_starts_when_robots_that_take_one_task_after_the_other_would_take_it(
    minutes: int, own: int, robots: int, most: int | None, used: int, per: str, window: tuple[int, int] | None
) -> None:
    """Whole tasks, whole robots; windows and periods are multiples of a task, so no task lasts beyond one."""
    windows = () if window is None else (Window(WEEK, 60 * window[0], 60 * window[1]),)
    calendar, limit = Calendar("America/Sao_Paulo", windows), Limit(per, most or 1_000_000, (), True)
    inputs = Inputs(
        NOW, calendar, ahead_work_s=60.0 * minutes * own, ahead_own=own, robots=robots, task_s=60.0 * minutes,
        overhead_s=0.0, limits=((limit, used),), zone="America/Sao_Paulo",
    )  # fmt: skip
    taken, at, counts = 0, NOW, {period(per, NOW, "America/Sao_Paulo"): used}
    while True:
        name = period(per, at, "America/Sao_Paulo")
        fits = min(robots, limit.max - counts.get(name, 0)) if is_open(calendar, at) else 0
        if taken + max(fits, 0) > own:
            break
        taken += max(fits, 0)
        counts[name] = counts.get(name, 0) + max(fits, 0)
        at += timedelta(minutes=minutes)
    found = forecast(inputs).starts_at
    assert found is not None
    if robots == 1:
        assert abs(found - at) < SLACK
    else:
        assert at - SLACK <= found < at + timedelta(minutes=minutes) + SLACK


def _later(inputs: Inputs, worse: Inputs) -> None:
    before, after = forecast(inputs), forecast(worse)
    assume("look further" not in before.text)
    if before.starts_at is None:
        assert after.starts_at is None
    elif after.starts_at is not None:
        assert after.starts_at >= before.starts_at - SLACK


@given(waiting(), st.integers(0, 5000), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_more_work_in_front_never_makes_it_earlier(inputs: Inputs, more_s: int, more: int) -> None:
    assert inputs.task_s is not None
    _later(inputs, replace(inputs, ahead_work_s=inputs.ahead_work_s + more_s))
    _later(inputs, replace(inputs, ahead_own=inputs.ahead_own + more))
    more_work_s = inputs.ahead_work_s + more * (inputs.task_s + (inputs.overhead_s or 0))
    _later(inputs, replace(inputs, ahead_own=inputs.ahead_own + more, ahead_work_s=more_work_s))
    _later(inputs, replace(inputs, busy_until_s=inputs.busy_until_s + more_s))


@given(waiting(), st.integers(0, 8))
@settings(max_examples=200, deadline=None)
def test_fewer_robots_and_more_used_never_make_it_earlier(inputs: Inputs, more: int) -> None:
    _later(replace(inputs, robots=inputs.robots + more), inputs)
    _later(replace(inputs, runs_max=None), inputs)
    _later(inputs, replace(inputs, limits=tuple((one, used + more) for one, used in inputs.limits)))
    _later(inputs, replace(inputs, account_limits=tuple((one, used + more) for one, used in inputs.account_limits)))
    _later(replace(inputs, limits=()), inputs)


@given(waiting(), st.integers(-3000, 300_000), st.integers(0, 59_999_999))
@settings(max_examples=200, deadline=None)
def test_it_never_starts_before_now_nor_while_it_is_closed(inputs: Inputs, in_s: int, us: int) -> None:
    now = inputs.now + timedelta(microseconds=us)
    found = forecast(replace(inputs, now=now, deadline=now + timedelta(seconds=in_s)))
    assert inputs.task_s is not None
    if found.starts_at is None:
        assert found.ends_at is None
        assert found.deadline_kept is not True
        return
    assert found.starts_at >= now + timedelta(seconds=inputs.busy_until_s)
    assert is_open(inputs.calendar or Calendar(), found.starts_at)
    assert found.ends_at == found.starts_at + timedelta(seconds=inputs.task_s + (inputs.overhead_s or 0))
    assert found.deadline_kept == (found.ends_at <= now + timedelta(seconds=in_s))
    assert ("before its deadline" in found.text) == found.deadline_kept


FREE = Inputs(NOW, robots=1, task_s=90.0, overhead_s=30.0)


def test_it_says_when_it_starts_and_ends() -> None:
    found = forecast(replace(FREE, ahead_work_s=240.0, ahead_own=2, deadline=NOW + timedelta(minutes=6)))
    said = "it should start at about 2026-11-25T18:04Z and end by 18:06Z, before its deadline"
    assert found == Forecast(NOW + timedelta(minutes=4), NOW + timedelta(minutes=6), True, said)
    assert set(asdict(found)) == {"starts_at", "ends_at", "deadline_kept", "text"}
    late = forecast(replace(FREE, ahead_work_s=240.0, ahead_own=2, deadline=NOW + timedelta(minutes=5)))
    assert late.deadline_kept is False
    assert late.text == (
        "it should start at about 2026-11-25T18:04Z and end by 18:06Z, after its deadline of 2026-11-25T18:05Z"
    )
    over_night = forecast(replace(FREE, busy_until_s=6 * 3600.0 - 60))
    assert over_night.deadline_kept is None
    assert over_night.text == "it should start at about 2026-11-25T23:59Z and end by 2026-11-26T00:01Z"


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (replace(FREE, held=True), "nobody can say: a person must act first"),
        (replace(FREE, robots=0), "nobody can say: no robot may run it"),
        (replace(FREE, task_s=None), "nobody can say: nothing measured yet for this workflow"),
        (
            replace(FREE, calendar=Calendar(closures=(Closure(NOW, NOW + timedelta(days=900), "away"),))),
            "nobody can say: its workflow does not open within 400 days",
        ),
        (replace(FREE, ahead_work_s=1e12), "nobody can say: it would not start within 400 days"),
        (
            replace(FREE, ahead_work_s=12e6, ahead_own=100_000, limits=((Limit("hour", 1), 0),)),
            "nobody can say: too much is in front of it to look further than 2027-01-06T10:00Z",
        ),
    ],
)
def test_when_nobody_can_say_it_says_why(inputs: Inputs, said: str) -> None:
    assert forecast(inputs) == Forecast(None, None, None, said)
    assert forecast(replace(inputs, deadline=NOW)).deadline_kept is False
    assert forecast(replace(inputs, deadline=NOW + timedelta(days=2000))).deadline_kept is None


def test_a_deadline_is_missed_when_it_does_not_open_before_it() -> None:
    away = Calendar(closures=(Closure(NOW, NOW + timedelta(days=900), "away"),))
    assert forecast(replace(FREE, calendar=away, deadline=NOW + timedelta(days=399))).deadline_kept is False


def test_at_a_limit_the_work_of_others_goes_on() -> None:
    """Five own tasks an hour, none left in this one: an hour of others' work is done while they wait."""
    limits = ((Limit("hour", 5), 5),)
    inputs = replace(FREE, ahead_work_s=3600.0 + 6 * 120, ahead_own=6, limits=limits)
    assert forecast(inputs).starts_at == NOW + timedelta(hours=2, seconds=120)
    assert forecast(replace(inputs, ahead_own=4)).starts_at == NOW + timedelta(hours=1, seconds=720)


def test_nothing_is_done_while_it_is_closed() -> None:
    """Nine hours a day, two robots, 40 robot-hours of work from 18:00 on: two days and two hours of the third."""
    nine = Calendar("UTC", (Window(WEEK, 9 * 60, 18 * 60),), frozenset({date(2026, 11, 27)}))
    inputs = replace(FREE, calendar=nine, robots=2, ahead_work_s=40 * 3600.0)
    assert forecast(inputs).starts_at == datetime(2026, 11, 29, 11, tzinfo=UTC)
    assert forecast(replace(inputs, ahead_work_s=36 * 3600.0)).starts_at == datetime(2026, 11, 29, 9, tzinfo=UTC)
    assert forecast(replace(inputs, runs_max=1, ahead_work_s=0.0)).starts_at == datetime(2026, 11, 26, 9, tzinfo=UTC)


def test_limits_that_only_tell_delay_nothing_and_the_accounts_limits_go_by_its_own_clock() -> None:
    assert forecast(replace(FREE, limits=((Limit("day", 5, (), False), 5),))).starts_at == NOW
    account = replace(FREE, account_limits=((Limit("day", 5), 5),), account_zone="America/Sao_Paulo")
    assert forecast(account).starts_at == datetime(2026, 11, 26, 3, tzinfo=UTC)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        forecast(replace(FREE, now=datetime(2026, 1, 1)))
