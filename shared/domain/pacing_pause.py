"""How long to pause before an instruction, learned from what a longer pause cures.

Called by: pacing.py, which knows places, robots and objects. Survives a crash: nothing, it is a pure function; the
state is stored by services/executor/store_pacing.py. Change also: docs/adr/0016, docs/pacing_simulation.py.

The rule. An error is only *evidence* that the pause was too short, so every decision is a sequential test on a stream
of successes and errors (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954; the weights are Wald's
likelihood ratio for "errors come at the usual rate" against "at a higher one"). The score rises with errors, falls
with successes, never below zero; at ALARM the pause is judged:

- *Up.* The pause is doubled (RFC 6298 5.5: a timer that expired is doubled), above half a second by half of it, until
  the errors stop. Only when the longer pause has clearly cured them (ten times the run in which an error was due,
  with hardly any) does the pause that failed become the **floor**, for `retry_after_hours` robot hours. When even the
  longest pause does not help, or costs more than the errors do, waiting is not the cure: the pause goes back to where
  the climb began, and the rate that was seen counts as usual until the same time has gone.
- *Down.* After `need` successes the pause is shortened, quickly while nothing is known (halved, as slow start finds a
  path's capacity, RFC 5681 3.1), by bisection once there is a floor. A shortened pause is on probation: one error
  (where errors are rare) and it is the floor, the old pause comes back, and `need` doubles, as a retransmission's
  timer does. So probing costs a handful of errors in `retry_after_hours`, however long the script runs.
- After that time the floor is forgotten, and shorter pauses are tried once more.

The pause starts at none: so no instruction ever waits less than it would without learning, and learning can't add a
failure. What comes late or out of order is harmless: an error under a shorter pause than the
present one is old news, and so is a success under a longer one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import log, sqrt

ALARM = 4.6
"""ln 100: errors a hundred times likelier under the higher rate."""
HEAD_START = 3.0
"""The score of a pause that has proved nothing yet; one error makes the alarm."""
USUAL_RATE = 0.002
EXCESS_RATE = 0.01
"""How much above the usual rate the test looks for, at least."""
FAILURE_COST_S = 120.0
"""What an error costs in robot time (the task is done again): a longer pause has to be worth it."""
USUAL_RATE_MAX = 0.98
USUAL_GAIN, BURST_GAIN, BURST_RATE = 1 / 200, 1 / 50, 0.2
"""How fast the usual rate follows what is seen; faster after a burst, such as a portal that was away."""
NEED, NEED_MAX = 16, 1024
CURE_RUNS, CURE_PART = 10.0, 1 / 8
CURE_MIN, CURE_MAX = 12, 600
"""A longer pause is the cure when, in ten times the run in which an error was due, hardly any came; or when in so many
at most half of those came that were due."""
STEP_S, FREE_S = 0.1, 0.5
"""The first pause above none, and how much longer a pause may always become before it has to be worth it."""
FINE_S, FINE_PART = 0.05, 0.25
"""A pause so near above its floor is not shortened: absolute, and as a part of it."""
SAME_S = 0.001


@dataclass(frozen=True)
class Bounds:
    """What a workflow's settings allow."""

    pause_max_s: float = 5.0
    find_max_s: float = 60.0
    retry_after_hours: float = 1000.0
    """Robot hours after which shorter waits are tried again."""


class Trend(StrEnum):
    """What is being tried."""

    STEADY = "steady"
    """Nothing: the pause does."""
    LOWERED = "lowered"
    """A shorter pause, on probation."""
    RAISED = "raised"
    """A longer pause, to see whether it cures the errors."""


@dataclass(frozen=True)
class Pause:
    """What is known about the pause at one place (or of one robot there)."""

    pause_s: float = 0.0
    trend: Trend = Trend.STEADY
    floor_s: float | None = None
    """A pause that failed; nothing at or below it is tried before `floor_until_h`."""
    floor_until_h: float = 0.0
    floor_rate: float = 0.0
    """How often it failed, at least."""
    return_s: float = 0.0
    """Lowered: where it goes back to. Raised: where the climb began."""
    failed_s: float = 0.0
    """Raised: the last pause that made the alarm."""
    failed_rate: float = 0.0
    """Raised: how often it failed, at least."""
    score: float = HEAD_START
    seen: int = 0
    """Observations since the pause was changed or the score was zero: Page's estimate of where a change is."""
    errors: int = 0
    """Errors among them."""
    climb_seen: int = 0
    climb_errors: int = 0
    """The same, over the whole climb."""
    streak: int = 0
    """Successes since the pause was changed; halved by an error that makes no alarm, unless errors are usual."""
    need: int = NEED
    """Successes before the next shortening."""
    usual: float = USUAL_RATE
    usual_max: float = USUAL_RATE
    """The usual rate of errors, and the highest that is believed until `usual_until_h`."""
    usual_until_h: float = 0.0


def fresh() -> Pause:
    """Nothing is known yet."""
    return Pause()


def planned(pause: Pause, bounds: Bounds) -> float:
    """How long to pause, seconds, within the bounds of today."""
    return min(max(pause.pause_s, 0.0), bounds.pause_max_s)


def learn(pause: Pause, *, early: bool, paused_s: float, bounds: Bounds, hours: float) -> Pause:
    """What is known after one more instruction.

    early: it failed in a way that a longer pause may cure. paused_s: how long it really paused. hours: robot hours of
    the workflow so far.
    """
    now = _expired(pause, hours)
    mine = planned(now, bounds)
    if (early and paused_s < mine - SAME_S) or (not early and paused_s > mine + SAME_S):
        return now
    now = replace(now, pause_s=mine, seen=now.seen + 1, usual=_usual(now, early))
    return _on_error(now, bounds, hours) if early else _on_success(now, bounds, hours)


def _expired(pause: Pause, hours: float) -> Pause:
    if pause.floor_s is not None and hours >= pause.floor_until_h:
        pause = replace(pause, floor_s=None, need=NEED, streak=0)
    if pause.usual_max > USUAL_RATE and hours >= pause.usual_until_h:
        pause = replace(pause, usual=USUAL_RATE, usual_max=USUAL_RATE, score=0.0)
    return pause


def _usual(pause: Pause, early: bool) -> float:
    """The usual rate, which follows what is seen, but never above what no pause could cure."""
    gain = BURST_GAIN if pause.usual > BURST_RATE else USUAL_GAIN
    moved = pause.usual + gain * (float(early) - pause.usual)
    return min(max(moved, USUAL_RATE), pause.usual_max)


def _weights(pause: Pause) -> tuple[float, float]:
    """What an error adds to the score, and what a success takes off it."""
    usual = pause.usual
    worth = max(EXCESS_RATE, (_longer(pause.pause_s) - pause.pause_s) / FAILURE_COST_S, usual)
    higher = usual + min(worth, (1 - usual) / 2)
    return log(higher / usual), log((1 - usual) / (1 - higher))


def _on_success(pause: Pause, bounds: Bounds, hours: float) -> Pause:
    score = max(0.0, pause.score - _weights(pause)[1])
    now = replace(pause, score=score, streak=pause.streak + 1)
    if now.trend is Trend.RAISED:
        return _on_trial(now, bounds, hours)
    if score == 0.0:
        now = replace(now, seen=0, errors=0)
    if now.streak < now.need:
        return now
    shorter = _shorter(now)
    if shorter is None:
        return replace(now, trend=Trend.STEADY, streak=now.need)
    return replace(
        now, trend=Trend.LOWERED, pause_s=shorter, return_s=now.pause_s, score=HEAD_START, seen=0, errors=0, streak=0
    )


def _on_trial(pause: Pause, bounds: Bounds, hours: float) -> Pause:
    """Whether the longer pause is the cure: yes, no, or not known yet."""
    due = pause.seen * pause.failed_rate
    if pause.seen >= CURE_MIN and due >= CURE_RUNS and pause.errors <= due * CURE_PART:
        return _floored(pause, pause.failed_s, pause.failed_rate, bounds, hours)
    if pause.seen < CURE_MAX:
        return pause
    if pause.errors <= pause.seen * _at_least(pause.climb_errors, pause.climb_seen) / 2:
        return _floored(pause, pause.failed_s, pause.failed_rate, bounds, hours)
    climbed = replace(pause, climb_seen=pause.climb_seen + pause.seen, climb_errors=pause.climb_errors + pause.errors)
    return _futile(climbed, pause.return_s, bounds, hours)


def _floored(pause: Pause, floor_s: float, rate: float, bounds: Bounds, hours: float) -> Pause:
    """This pause does, and a shorter one failed."""
    return replace(
        pause, trend=Trend.STEADY, floor_s=floor_s, floor_rate=rate, floor_until_h=hours + bounds.retry_after_hours,
        score=0.0, seen=0, errors=0, climb_seen=0, climb_errors=0, streak=0,
    )  # fmt: skip


def _shorter(pause: Pause) -> float | None:
    """The next shorter pause to try; none when it is as short as it may be."""
    if pause.pause_s <= 0.0:
        return None
    if pause.floor_s is None:
        half = pause.pause_s / 2
        return half if half >= FINE_S else 0.0
    if pause.pause_s - pause.floor_s <= max(FINE_S, FINE_PART * pause.pause_s):
        return None
    return (pause.pause_s + pause.floor_s) / 2


def _on_error(pause: Pause, bounds: Bounds, hours: float) -> Pause:
    streak = pause.streak if pause.usual_max > USUAL_RATE else pause.streak // 2
    now = replace(pause, score=pause.score + _weights(pause)[0], errors=pause.errors + 1, streak=streak)
    if now.score < ALARM:
        return now
    if now.trend is Trend.LOWERED:
        back = replace(now, pause_s=now.return_s, need=min(now.need * 2, NEED_MAX))
        return _floored(back, now.pause_s, _at_least(now.errors, now.seen), bounds, hours)
    now = replace(now, climb_seen=now.climb_seen + now.seen, climb_errors=now.climb_errors + now.errors)
    began = now.return_s if now.trend is Trend.RAISED else now.pause_s
    longer = min(_longer(now.pause_s), bounds.pause_max_s)
    worth_s = max(FREE_S, FAILURE_COST_S * _at_least(now.climb_errors, now.climb_seen))
    if now.pause_s >= bounds.pause_max_s - SAME_S or longer - began > worth_s:
        return _futile(now, began, bounds, hours)
    return replace(
        now, trend=Trend.RAISED, pause_s=longer, return_s=began, failed_s=now.pause_s,
        failed_rate=_at_least(now.errors, now.seen), score=0.0, seen=0, errors=0, streak=0,
    )  # fmt: skip


def _longer(pause_s: float) -> float:
    """The next longer pause to try."""
    return max(STEP_S, pause_s * (2 if pause_s < FREE_S else 1.5))


def _at_least(errors: int, seen: int) -> float:
    """A rate that is surely not too high: an alarm comes when there happen to be many errors."""
    return max(errors - sqrt(errors), errors / 4) / max(seen, 1)


def _futile(pause: Pause, began_s: float, bounds: Bounds, hours: float) -> Pause:
    """No pause helps: the errors have another cause, which may be what set the floor, too (unless it was a burst)."""
    rate = pause.climb_errors / max(pause.climb_seen, 1)
    rate = rate if rate > BURST_RATE else _at_least(pause.climb_errors, pause.climb_seen)
    rate = min(max(rate, USUAL_RATE), USUAL_RATE_MAX)
    sure = rate > BURST_RATE or pause.floor_rate > 4 * rate
    return replace(
        pause, trend=Trend.STEADY, pause_s=began_s, usual=rate, usual_max=rate, floor_s=pause.floor_s if sure else None,
        usual_until_h=hours + bounds.retry_after_hours, score=0.0, seen=0, errors=0, climb_seen=0, climb_errors=0,
        streak=0, need=NEED,
    )  # fmt: skip
