"""What adaptive waits do on model pages; writes docs/adaptive-waits.md and its picture.

Called by: docs/generate.py (`make docs`), tests/unit/shared/domain/test_pacing_simulation.py, which asserts what the
page claims. Every figure comes from here, with fixed seeds. Change also: shared/domain/pacing*.py are what is
simulated.

A page is a sequence of times: how long after the instruction before it the page really is ready. Acting earlier fails,
although everything needed is visible (what is not visible yet, the robot waits for by itself)."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log, pi, sin

from shared.domain import pacing_find, pacing_pause
from shared.domain.pacing_find import Found, Wait
from shared.domain.pacing_pause import FAILURE_COST_S, Bounds

INSTRUCTIONS = 12_000
HOURS_EACH = 2 / 3600
"""Robot hours that one instruction takes."""
HAND_WRITTEN_S = 2.0
EXTRA_MAX = 50
"""Failures that finding the wait may cost, of INSTRUCTIONS."""
BOUNDS = Bounds()
GRID = [step / 20 for step in range(101)]
"""Fixed waits among which the best is looked for."""

Ready = Callable[[int, random.Random], float]


def _or_never(part: float, ready_s: float) -> Ready:
    return lambda _i, r: inf if r.random() < part else ready_s


PAGES: dict[str, tuple[str, Ready]] = {
    "ready": ("always ready", lambda _i, _r: 0.0),
    "constant": ("ready after 0.8 s", lambda _i, _r: 0.8),
    "jittery": ("lognormal around 0.6 s", lambda _i, r: r.lognormvariate(log(0.6), 0.4)),
    "drifting": (
        "0.3 s, growing to 1.5 s",
        lambda i, r: 0.3 + 1.2 * min(1.0, max(0.0, i / INSTRUCTIONS - 0.3) / 0.4) + r.gauss(0, 0.05),
    ),
    "spiky": ("0.3 s, but 1 to 6 s once in 100", lambda _i, r: r.uniform(1, 6) if r.random() < 0.01 else 0.3),
    "by time of day": (
        "0.3 s at night, 1 s at noon",
        lambda i, r: (0.3 + 0.7 * max(0.0, sin(2 * pi * i / 2000))) * r.lognormvariate(0, 0.15),
    ),
    "broken at times": ("3 % fail whatever one waits", _or_never(0.03, 0.0)),
    "slow and broken": ("ready after 0.8 s, and 3 % fail", _or_never(0.03, 0.8)),
    "away at times": ("0.5 s, twice away for 50 in a row", lambda i, _r: inf if 4000 < i % 6000 < 4051 else 0.5),
    "often missing": ("6 of 10 fail: the script catches it", _or_never(0.6, 0.0)),
}


@dataclass(frozen=True)
class Result:
    """Failures and waits over a sequence."""

    failures: int
    wait_s: float
    """Mean, seconds."""
    count: int = INSTRUCTIONS

    @property
    def rate(self) -> float:
        """Part that failed."""
        return self.failures / self.count

    @property
    def cost_s(self) -> float:
        """Wait and failures, as seconds per instruction."""
        return self.wait_s + self.rate * FAILURE_COST_S


@dataclass(frozen=True)
class Compared:
    """One page under every way to wait."""

    none: Result
    hand_written: Result
    best_s: float
    best: Result
    adaptive: Result
    later: Result
    """The second half of `adaptive`."""
    trace: tuple[float, ...]
    """The adaptive pause at every instruction."""


@lru_cache(maxsize=32)
def compare(page: str, seed: int = 1) -> Compared:
    """Simulate one page."""
    r = random.Random(seed)
    ready = [PAGES[page][1](i, r) for i in range(INSTRUCTIONS)]
    ordered = sorted(ready)

    def fixed(wait_s: float) -> Result:
        return Result(INSTRUCTIONS - bisect_right(ordered, wait_s), wait_s)

    best_s = min(GRID, key=lambda wait_s: fixed(wait_s).cost_s)
    trace, failed = adaptive(ready)
    half = INSTRUCTIONS // 2
    return Compared(
        fixed(0.0), fixed(HAND_WRITTEN_S), best_s, fixed(best_s), _result(trace, failed),
        _result(trace[half:], failed[half:]), tuple(trace),
    )  # fmt: skip


def adaptive(ready: list[float]) -> tuple[list[float], list[bool]]:
    """The learned pauses and what failed."""
    pause = pacing_pause.fresh()
    trace, failed = [], []
    for i, ready_s in enumerate(ready):
        paused_s = pacing_pause.planned(pause, BOUNDS)
        early = ready_s > paused_s
        trace.append(paused_s)
        failed.append(early)
        pause = pacing_pause.learn(pause, early=early, paused_s=paused_s, bounds=BOUNDS, hours=i * HOURS_EACH)
    return trace, failed


def _result(trace: list[float], failed: list[bool]) -> Result:
    return Result(sum(failed), sum(trace) / len(trace), len(trace))


# how long to wait for what appears

WAITS: dict[str, tuple[str, Wait, Ready]] = {
    "always comes": ("after 0.2 to 1 s", Wait(25.0), lambda _i, r: r.uniform(0.2, 1)),
    "banner": (
        "comes in 1 of 10, after 0.3 s; else the script catches the error", Wait(25.0),
        lambda _i, r: 0.3 if r.random() < 0.1 else inf,
    ),
    "question": (
        "`exists`, comes in 1 of 4, after 0.1 to 0.6 s", Wait(5.0, needed=False),
        lambda _i, r: r.uniform(0.1, 0.6) if r.random() < 0.25 else inf,
    ),
    "slow report": (
        "comes after 2 to 20 s, 1 in 20 only after 30 to 45 s", Wait(25.0),
        lambda _i, r: r.uniform(30, 45) if r.random() < 0.05 else r.uniform(2, 20),
    ),
    "question, later late": (
        "`exists`, 1 of 4, after 0.3 s; from the middle on after 3 s", Wait(5.0, needed=False),
        lambda i, r: (0.3 if i < INSTRUCTIONS / 2 else 3.0) if r.random() < 0.25 else inf,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Waited:
    """One kind of wait, by default and learned: mean seconds, and how often what came in the end was missed."""

    default_s: float
    default_missed: int
    learned_s: float
    learned_missed: int


@lru_cache(maxsize=32)
def compare_waits(name: str, seed: int = 1) -> Waited:
    """Simulate one kind of wait."""
    _, wait, comes = WAITS[name]
    r = random.Random(seed)
    found, spent, missed, spent_default, missed_default = Found(), 0.0, 0, 0.0, 0
    for i in range(INSTRUCTIONS):
        comes_s = comes(i, r)
        spent_default += min(comes_s, wait.default_s)
        missed_default += wait.default_s < comes_s < inf
        one = Wait(wait.default_s, wait.needed, wait.shortens, turn=i)
        limit_s = pacing_find.planned(found, one, BOUNDS, i * HOURS_EACH) or wait.default_s
        spent += min(comes_s, limit_s)
        missed += limit_s < comes_s < inf
        found_s = comes_s if comes_s <= limit_s else None
        found = pacing_find.learn(
            found, found_s=found_s, waited_s=limit_s, wait=one, bounds=BOUNDS, hours=i * HOURS_EACH
        )
    return Waited(spent_default / INSTRUCTIONS, missed_default, spent / INSTRUCTIONS, missed)


# a script as a whole

SCRIPT = {"ready": 14, "constant": 2, "jittery": 1, "by time of day": 1, "spiky": 1, "broken at times": 1}
"""Twenty instructions, by page."""
WORK_S = 0.4
"""What an instruction itself takes."""


def script_s() -> dict[str, float]:
    """Seconds for one pass through the script, failures included, under each way to wait (once it has learned)."""
    slow = {page for page in SCRIPT if page != "ready"}
    found = {page: compare(page) for page in SCRIPT}

    def total(of: Callable[[str], float]) -> float:
        return sum(count * (WORK_S + of(page)) for page, count in SCRIPT.items())

    return {
        "no wait": total(lambda page: found[page].none.cost_s),
        "2 s before each instruction": total(lambda page: found[page].hand_written.cost_s),
        "2 s before the six that need it": total(
            lambda page: found[page].hand_written.cost_s if page in slow else found[page].none.cost_s
        ),
        "best fixed wait for each": total(lambda page: found[page].best.cost_s),
        "adaptive": total(lambda page: found[page].later.cost_s),
    }


# the page

_HEAD = f"""# Adaptive waits: what they do

Generated by `docs/pacing_simulation.py` (`make docs`); a test fails when it is stale or a claim below does not hold.
The rule is in `shared/domain/pacing_pause.py` and `pacing_find.py`, the decision in
[adr/0016](adr/0016-adaptive-waits.md).

## Pausing before an instruction

{INSTRUCTIONS:,} instructions at one place, beginning without a pause. An instruction fails when it comes before the
page is ready. *Best* is the fixed pause that an oracle would choose, knowing the whole sequence, when a failure costs
{FAILURE_COST_S:.0f} s. *Adaptive* counts everything from the first instruction on; *later* is its second half.

| page | | no wait | {HAND_WRITTEN_S:g} s by hand | best fixed wait | adaptive | later | against by hand |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

_CLAIMS = f"""
What holds, for each page and several seeds: adaptive waits never fail more often than no wait; never
more often than the best fixed wait by more than {EXTRA_MAX} failures in all, which is what finding it costs; later
they cost (pause and failures) at most a third more than the best fixed wait, plus 0.15 s; and where no pause helps,
none is kept for long.

![The pause at each instruction](adaptive-waits.svg)

## Waiting for what appears

| what | | by default: mean wait | missed | learned: mean wait | missed |
| --- | --- | --- | --- | --- | --- |
"""

_SCRIPT_HEAD = """
*Missed* is what did come, but after the wait was over. What always comes costs the same with any
limit, so nothing is learned there.

## A whole script

Twenty instructions of {work} s each: fourteen on pages that are ready, two constant, one jittery, one by time of day,
one spiky, one that is broken at times. Seconds for one pass, with {cost:.0f} s for each failure.

| | seconds | against 2 s each |
| --- | --- | --- |
"""


def page() -> str:
    """The text of docs/adaptive-waits.md."""
    rows = [_row(name) for name in PAGES]
    waits = [_wait_row(name) for name in WAITS]
    passes = script_s()
    slowest = passes["2 s before each instruction"]
    scripts = [f"| {name} | {s:.1f} | {s / slowest - 1:+.0%} |" for name, s in passes.items()]
    head = _SCRIPT_HEAD.format(work=WORK_S, cost=FAILURE_COST_S)
    return _HEAD + "\n".join(rows) + "\n" + _CLAIMS + "\n".join(waits) + "\n" + head + "\n".join(scripts) + "\n"


def _row(name: str) -> str:
    one = compare(name)
    best = f"{one.best_s:.2f} s, {one.best.rate:.2%}"
    learned = f"{one.adaptive.wait_s:.2f} s, {one.adaptive.rate:.2%}"
    later = f"{one.later.wait_s:.2f} s, {one.later.rate:.2%}"
    against = one.later.wait_s / HAND_WRITTEN_S - 1
    fixed = f"{one.none.rate:.2%} | {one.hand_written.rate:.2%} | {best}"
    return f"| {name} | {PAGES[name][0]} | {fixed} | {learned} | {later} | {against:+.0%} |"


def _wait_row(name: str) -> str:
    one = compare_waits(name)
    default = f"{one.default_s:.2f} s | {one.default_missed:,}"
    return f"| {name} | {WAITS[name][0]} | {default} | {one.learned_s:.2f} s | {one.learned_missed:,} |"


_COLOURS = {"constant": "#0b7285", "jittery": "#c2255c", "drifting": "#e67700", "by time of day": "#5f3dc4"}
_WIDTH, _HEIGHT, _SECONDS = 860, 300, 3.0


def picture() -> str:
    """The text of docs/adaptive-waits.svg: pauses over instructions."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 60} {_HEIGHT + 40}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for second in range(4):
        y = _y(second)
        parts.append(f'<line x1="40" x2="{_WIDTH + 40}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="8" y="{y + 4:.0f}">{second} s</text>')
    for n, (name, colour) in enumerate(_COLOURS.items()):
        trace = compare(name).trace
        points = " ".join(
            f"{40 + _WIDTH * i / len(trace):.0f},{_y(trace[i]):.1f}" for i in range(0, len(trace), len(trace) // 430)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{60 + 130 * n}" y="{_HEIGHT + 34}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{_WIDTH - 60}" y="{_HEIGHT + 34}">{INSTRUCTIONS:,} instructions</text></svg>')
    return "\n".join(parts) + "\n"


def _y(seconds: float) -> float:
    return _HEIGHT + 10 - min(seconds, _SECONDS) / _SECONDS * _HEIGHT
