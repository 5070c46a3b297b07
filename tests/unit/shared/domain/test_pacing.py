"""The rules of adaptive waits: bounds, reactions, floors, freezing, and observations in any order."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import pacing, pacing_find, pacing_pause
from shared.domain.pacing import OBJECTS_MAX, ROBOTS_MAX, Observation, Place
from shared.domain.pacing_find import BUCKETS, Found, Wait, bucket_end_s, percentile_s
from shared.domain.pacing_pause import NEED, NEED_MAX, SAME_S, Bounds, Pause, Trend

BOUNDS = Bounds()
WAIT = Wait(25.0)

waits = st.builds(Wait, st.floats(1, 120), st.booleans(), st.booleans(), st.integers(0, 20))
bounds = st.builds(Bounds, st.floats(0, 20), st.floats(1, 300), st.floats(1, 2000))
observations = st.builds(
    Observation,
    early=st.none() | st.booleans(),
    paused_s=st.floats(0, 30),
    found_s=st.none() | st.floats(0, 300),
    missed_after_s=st.none() | st.floats(0, 300),
    wait=st.none() | waits,
    robot=st.none() | st.integers(0, 70).map(lambda n: f"robot{n}"),
    object=st.none() | st.integers(0, 30).map(lambda n: f"object.{n}"),
)
histories = st.lists(st.tuples(observations, st.floats(0, 5000)), max_size=40)


def learned(history: list[tuple[Observation, float]], within: Bounds) -> Place:
    place = pacing.fresh()
    for seen, hours in history:
        place = pacing.learn(place, seen, within, hours)
    return place


def driven(pause: Pause, errors: list[bool], hours: float = 0.0, within: Bounds = BOUNDS) -> Pause:
    """Each instruction pauses as planned."""
    for early in errors:
        used = pacing_pause.planned(pause, within)
        pause = pacing_pause.learn(pause, early=early, paused_s=used, bounds=within, hours=hours)
    return pause


def reacting(ready_s: float, count: int, pause: Pause | None = None, hours: float = 0.0) -> Pause:
    """An instruction fails when it pauses for less than `ready_s`."""
    pause = pause or pacing_pause.fresh()
    for _ in range(count):
        used = pacing_pause.planned(pause, BOUNDS)
        pause = pacing_pause.learn(pause, early=used < ready_s, paused_s=used, bounds=BOUNDS, hours=hours)
    return pause


# whatever comes, in whatever order


@given(histories, bounds, bounds, waits, st.floats(0, 6000))
def test_every_plan_keeps_the_bounds_of_today(
    history: list[tuple[Observation, float]], then: Bounds, today: Bounds, wait: Wait, hours: float
) -> None:
    place = learned(history, then)
    for robot in [None, *place.robots]:
        for thing in [None, *place.objects]:
            pace = pacing.plan(place, today, hours, robot=robot, object=thing, wait=wait)
            assert 0 <= pace.pause_s <= today.pause_max_s
            if pace.find_s is not None:
                assert min(pacing_find.SHORTER_MIN_S, wait.default_s) <= pace.find_s
                assert pace.find_s <= max(today.find_max_s, wait.default_s)


@given(st.permutations(range(12)), st.lists(st.tuples(observations, st.floats(0, 5000)), min_size=12, max_size=12))
def test_observations_of_several_executors_may_come_in_any_order(
    order: list[int], history: list[tuple[Observation, float]]
) -> None:
    one, other = learned(history, BOUNDS), learned([history[i] for i in order], BOUNDS)
    assert (one.counts.samples, one.counts.failures) == (other.counts.samples, other.counts.failures)
    assert one.found.counts == other.found.counts
    assert one.found.missed == other.found.missed
    for place in (one, other):
        assert 0 <= pacing.plan(place, BOUNDS, 0.0).pause_s <= BOUNDS.pause_max_s


@given(histories, bounds)
def test_a_place_is_bounded_and_survives_being_stored(history: list[tuple[Observation, float]], within: Bounds) -> None:
    place = learned(history, within)
    assert len(place.robots) <= ROBOTS_MAX
    assert len(place.objects) <= OBJECTS_MAX
    assert pacing.from_document(pacing.to_document(place)) == place
    numbers = (place.pause.pause_s, place.pause.score, place.pause.usual, place.pause.failed_rate)
    assert all(isfinite(n) and n >= 0 for n in numbers)
    assert place.pause.seen >= place.pause.errors >= 0
    assert NEED <= place.pause.need <= NEED_MAX


@given(histories, histories, st.floats(0, 9000))
def test_what_is_frozen_never_changes(
    before: list[tuple[Observation, float]], after: list[tuple[Observation, float]], hours: float
) -> None:
    frozen = pacing.freeze(learned(before, BOUNDS))
    later = frozen
    for seen, at in after:
        later = pacing.learn(later, seen, BOUNDS, at)
    assert (later.pause, later.found) == (frozen.pause, frozen.found)
    assert pacing.plan(later, BOUNDS, hours, wait=WAIT).pause_s == pacing.plan(frozen, BOUNDS, hours).pause_s
    kept = [name for name in frozen.robots if name in later.robots]
    if len({*later.robots, *frozen.robots}) <= ROBOTS_MAX:
        assert all(later.robots[name].pause == frozen.robots[name].pause for name in kept)
    assert later.counts.samples == frozen.counts.samples + len(after)


@given(histories)
def test_a_reset_forgets_everything(history: list[tuple[Observation, float]]) -> None:
    place = learned(history, BOUNDS)
    assert pacing.reset(place) == pacing.fresh()
    assert pacing.reset(pacing.freeze(place)) == pacing.fresh()


# pauses


@given(histories, st.floats(0, 5000))
def test_reactions_are_monotone(history: list[tuple[Observation, float]], hours: float) -> None:
    """An error never shortens a pause that is not on trial; a success never lengthens one."""
    pause = learned(history, BOUNDS).pause
    used = pacing_pause.planned(pause, BOUNDS)
    worse = pacing_pause.learn(pause, early=True, paused_s=used, bounds=BOUNDS, hours=hours)
    better = pacing_pause.learn(pause, early=False, paused_s=used, bounds=BOUNDS, hours=hours)
    assert worse.pause_s >= used or (pause.trend is Trend.RAISED and worse.pause_s == pause.return_s)
    assert better.pause_s <= used


@given(st.lists(st.booleans(), max_size=400), st.floats(0, 999))
def test_nothing_at_or_below_the_floor_is_tried_before_its_time(errors: list[bool], hours: float) -> None:
    pause = pacing_pause.fresh()
    for n, early in enumerate(errors):
        pause = driven(pause, [early], hours=hours * n / 400)
        if pause.floor_s is not None:
            assert pause.pause_s > pause.floor_s


@given(st.floats(0, 5), st.floats(0, 5), st.booleans())
def test_old_news_changes_nothing(paused_s: float, mine_s: float, early: bool) -> None:
    """An error under a shorter pause than the present one, or a success under a longer one."""
    pause = Pause(pause_s=mine_s)
    stale = paused_s < mine_s - SAME_S if early else paused_s > mine_s + SAME_S
    after = pacing_pause.learn(pause, early=early, paused_s=paused_s, bounds=BOUNDS, hours=0)
    assert (after == pause) if stale else (after != pause)


def test_while_it_goes_well_there_is_no_pause() -> None:
    assert driven(pacing_pause.fresh(), [False] * 500).pause_s == 0


@settings(max_examples=25)
@given(st.floats(0.05, 4.5))
def test_a_page_that_needs_a_pause_gets_one_that_is_little_longer(ready_s: float) -> None:
    pause = reacting(ready_s, 1500)
    assert ready_s <= pause.pause_s <= 1.35 * ready_s + 0.1
    assert pause.floor_s is not None
    assert pause.floor_s < ready_s


def test_a_single_error_of_a_pause_that_has_proved_itself_changes_nothing() -> None:
    pause = driven(pacing_pause.fresh(), [False] * 400)
    assert driven(pause, [True]).pause_s == 0
    assert driven(pause, [True, True, True]).pause_s > 0


def test_errors_that_no_pause_cures_leave_no_pause_behind() -> None:
    pause = driven(pacing_pause.fresh(), [True] * 60)
    assert (pause.pause_s, pause.floor_s, pause.usual > 0.5) == (0, None, True)
    assert driven(pause, [True] * 200).pause_s == 0


def test_shorter_pauses_are_tried_again_after_the_set_robot_hours() -> None:
    pause = reacting(0.8, 2000, hours=10)
    assert pause.pause_s > 0.75
    assert reacting(0.0, 5000, pause, hours=1009).pause_s > 0.6, "the floor holds, although the page became faster"
    assert reacting(0.0, 5000, pause, hours=1011).pause_s == 0
    slow = reacting(0.8, 5000, pause, hours=1011)
    assert 0.8 <= slow.pause_s < 1.2, "the page is as slow as ever: back near where it was"


@pytest.mark.parametrize("rounds", [0, 2])
def test_probing_costs_a_handful_of_errors(rounds: int) -> None:
    pause, errors = reacting(0.8, 2000), 0
    for n in range(4000):
        used = pacing_pause.planned(pause, BOUNDS)
        errors += used < 0.8
        pause = pacing_pause.learn(pause, early=used < 0.8, paused_s=used, bounds=BOUNDS, hours=1500.0 * rounds + n / 9)
    assert errors <= 12


# waits for what appears


@given(st.lists(st.floats(0.01, 200), min_size=1, max_size=300))
def test_the_percentile_is_rounded_up_to_a_bucket(times: list[float]) -> None:
    found = Found()
    for one in times:
        found = pacing_find.learn(found, found_s=one, waited_s=0, wait=WAIT, bounds=BOUNDS, hours=0)
    longest = max(times)
    assert longest <= percentile_s(found) <= max(1.5 * longest + 1e-9, bucket_end_s(0))
    assert len(found.counts) == BUCKETS


def test_what_always_comes_is_waited_for_as_ever() -> None:
    found = Found(counts=(1000, *(0,) * (BUCKETS - 1)))
    assert pacing_find.planned(found, WAIT, BOUNDS, 0) is None


def after_misses(found: Found, count: int, wait: Wait = WAIT, hours: float = 0.0) -> Found:
    for _ in range(count):
        limit = pacing_find.planned(found, wait, BOUNDS, hours) or wait.default_s
        found = pacing_find.learn(found, found_s=None, waited_s=limit, wait=wait, bounds=BOUNDS, hours=hours)
    return found


def test_a_miss_doubles_the_next_limit_and_what_comes_late_keeps_it_long() -> None:
    once, twice = after_misses(Found(), 1), after_misses(Found(), 2)
    assert (pacing_find.planned(once, WAIT, BOUNDS, 0), pacing_find.planned(twice, WAIT, BOUNDS, 0)) == (50, 60)
    late = pacing_find.learn(once, found_s=31.0, waited_s=0, wait=WAIT, bounds=BOUNDS, hours=0)
    assert pacing_find.planned(late, WAIT, BOUNDS, 0) == 60


def test_what_does_not_come_within_the_longest_limit_is_absent_until_the_set_time_has_gone() -> None:
    absent = after_misses(Found(), 3)
    assert pacing_find.planned(absent, WAIT, BOUNDS, 0) is None
    assert pacing_find.planned(after_misses(absent, 5, hours=10), WAIT, BOUNDS, 10) is None
    again = after_misses(absent, 1, hours=1001)
    assert pacing_find.planned(again, WAIT, BOUNDS, 1001) == 50


@pytest.mark.parametrize(("came", "missed", "shorter"), [(19, 500, False), (30, 1, False), (30, 300, True)])
def test_only_waits_that_are_often_in_vain_become_shorter(came: int, missed: int, shorter: bool) -> None:
    found = Found(counts=(0, 0, 0, came, *(0,) * (BUCKETS - 4)), missed=missed)
    question = Wait(5.0, needed=False, turn=1)
    assert (pacing_find.planned(found, question, BOUNDS, 0) is not None) is shorter
    assert pacing_find.planned(found, replace(question, turn=8), BOUNDS, 0) is None, "every eighth gets the whole time"
    assert pacing_find.planned(found, replace(question, shortens=False), BOUNDS, 0) is None
    assert pacing_find.planned(found, Wait(25.0, turn=1), BOUNDS, 0) is None, "longer ones have not been tried yet"


@given(histories, st.floats(0, 100))
def test_a_time_that_the_script_gives_is_never_touched(history: list[tuple[Observation, float]], hours: float) -> None:
    assert pacing.plan(learned(history, BOUNDS), BOUNDS, hours, wait=None).find_s is None


# robots and objects


def test_a_slow_robot_learns_a_pause_of_its_own() -> None:
    place = pacing.fresh()
    for n in range(4000):
        robot, ready_s = (("slow", 1.0), ("fast", 0.0))[n % 2]
        used = pacing.plan(place, BOUNDS, 0, robot=robot).pause_s
        place = pacing.learn(place, Observation(early=used < ready_s, paused_s=used, robot=robot), BOUNDS, 0)
    assert pacing.plan(place, BOUNDS, 0, robot="slow").pause_s >= 1.0
    assert pacing.plan(place, BOUNDS, 0, robot="fast").pause_s <= 0.2
    assert place.robots["slow"].counts.failures > place.robots["fast"].counts.failures == 0


def test_a_new_robot_begins_where_the_place_stands() -> None:
    place = replace(pacing.fresh(), pause=Pause(pause_s=1.5))
    assert pacing.plan(place, BOUNDS, 0, robot="new").pause_s == 1.5
    place = pacing.learn(place, Observation(early=False, paused_s=1.5, robot="new"), BOUNDS, 0)
    assert place.robots["new"].pause.pause_s == 1.5


def test_an_object_that_comes_late_is_waited_for_longer_than_the_others() -> None:
    place = pacing.fresh()
    for _ in range(30):
        for name, found_s in (("quick", 0.2), ("report", 40.0)):
            seen = Observation(found_s=found_s, wait=WAIT, object=name)
            place = pacing.learn(place, seen, BOUNDS, 0)
    assert pacing.plan(place, BOUNDS, 0, object="quick", wait=WAIT).find_s is None
    assert pacing.plan(place, BOUNDS, 0, object="report", wait=WAIT).find_s == 60
    assert place.objects["report"].counts.found_max_s == 40
