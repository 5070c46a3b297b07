"""Adaptive waits: how long an instruction pauses before it acts, and how long it waits for what it needs.

Called by: services/executor/pacing.py (plans before sending, learns from replies), docs/pacing_simulation.py.
Survives a crash: nothing, all of it is pure functions of states, observations and robot hours; the documents are the
executor's. Change also: pacing_pause.py and pacing_find.py (the two rules and where they come from), docs/adr/0016.

A *place* is one instruction at one line of a script. Its state is learned from every robot. Robots differ in speed, so
each robot that was there keeps a pause of its own, which begins as the place's; objects differ in when they appear, so
each object met at the place keeps waits of its own, used once there are enough of them. Both lists are bounded; who is
not in them is served by the place's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from shared.domain import pacing_find, pacing_pause
from shared.domain.pacing_find import FOUND_MIN, Found, Wait
from shared.domain.pacing_pause import Bounds, Pause, Trend

ROBOTS_MAX = 50
OBJECTS_MAX = 20

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """What the next instruction is told."""

    pause_s: float = 0.0
    """Before acting."""
    find_s: float | None = None
    """For what it needs to appear; None: as the robot does by itself."""


@dataclass(frozen=True)
class Observation:
    """What became of one instruction."""

    early: bool | None = None
    """True: it failed in a way that a longer pause may cure; False: it did well; None: it says nothing about pauses."""
    paused_s: float = 0.0
    found_s: float | None = None
    """How long what it needed took to appear; None: it did not, or it needed nothing."""
    missed_after_s: float | None = None
    """How long it waited in vain."""
    wait: Wait | None = None
    """How it waits when nothing is said; None: the script itself says how long."""
    robot: str | None = None
    object: str | None = None


@dataclass(frozen=True)
class Counts:
    """Figures for people."""

    samples: int = 0
    failures: int = 0
    """Those that a longer pause may cure."""
    found: int = 0
    missed: int = 0
    found_sum_s: float = 0.0
    found_max_s: float = 0.0


@dataclass(frozen=True)
class OfRobot:
    """What is known about one robot at a place."""

    pause: Pause
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True)
class OfObject:
    """What is known about one object at a place."""

    found: Found = field(default_factory=Found)
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True)
class Place:
    """Everything that is known about one place."""

    pause: Pause
    found: Found = field(default_factory=Found)
    counts: Counts = field(default_factory=Counts)
    robots: Mapping[str, OfRobot] = field(default_factory=dict)
    """The last ROBOTS_MAX robots, the latest one last."""
    objects: Mapping[str, OfObject] = field(default_factory=dict)
    frozen: bool = False
    """A person says: go on like this, learn no more."""


def fresh() -> Place:
    """Nothing is known yet."""
    return Place(pacing_pause.fresh())


def plan(
    place: Place, bounds: Bounds, hours: float, *, robot: str | None = None, object: str | None = None,
    wait: Wait | None = None,
) -> Pace:  # fmt: skip
    """How the next instruction at a place waits. hours: robot hours of the workflow so far.

    wait: how it waits when nothing is said; None: the script gives its own time, which is never changed.
    """
    of_robot = place.robots.get(robot or "")
    pause_s = pacing_pause.planned(of_robot.pause if of_robot else place.pause, bounds)
    if wait is None:
        return Pace(pause_s)
    known = place.objects.get(object or "")
    found = known.found if known is not None and known.found.came >= FOUND_MIN else place.found
    turn = replace(wait, turn=1) if place.frozen else wait
    return Pace(pause_s, pacing_find.planned(found, turn, bounds, hours))


def learn(place: Place, seen: Observation, bounds: Bounds, hours: float) -> Place:
    """What is known after one more instruction. A frozen place goes on counting, and learns nothing."""
    counts = _counted(place.counts, seen)
    robots, objects = dict(place.robots), dict(place.objects)
    if seen.robot is not None:
        of_robot = robots.pop(seen.robot, None) or OfRobot(place.pause)
        robots[seen.robot] = OfRobot(
            of_robot.pause if place.frozen else _paused(of_robot.pause, seen, bounds, hours),
            _counted(of_robot.counts, seen),
        )
    if seen.object is not None and (seen.found_s is not None or seen.missed_after_s is not None):
        of_object = objects.pop(seen.object, None) or OfObject()
        objects[seen.object] = OfObject(
            of_object.found if place.frozen else _waited(of_object.found, seen, bounds, hours),
            _counted(of_object.counts, seen),
        )
    kept = replace(place, counts=counts, robots=_last(robots, ROBOTS_MAX), objects=_last(objects, OBJECTS_MAX))
    if place.frozen:
        return kept
    return replace(
        kept, pause=_paused(place.pause, seen, bounds, hours), found=_waited(place.found, seen, bounds, hours)
    )


def freeze(place: Place, on: bool = True) -> Place:
    """Learn no more (or again)."""
    return replace(place, frozen=on)


def reset(place: Place) -> Place:
    """Forget everything, a freeze included."""
    return replace(fresh(), frozen=False)


def _paused(pause: Pause, seen: Observation, bounds: Bounds, hours: float) -> Pause:
    if seen.early is None:
        return pause
    return pacing_pause.learn(pause, early=seen.early, paused_s=seen.paused_s, bounds=bounds, hours=hours)


def _waited(found: Found, seen: Observation, bounds: Bounds, hours: float) -> Found:
    if seen.found_s is None and (seen.missed_after_s is None or seen.wait is None):
        return found  # a miss within the script's own time says nothing about longer ones
    return pacing_find.learn(
        found, found_s=seen.found_s, waited_s=seen.missed_after_s or 0.0, wait=seen.wait or Wait(0.0), bounds=bounds,
        hours=hours,
    )  # fmt: skip


def _counted(counts: Counts, seen: Observation) -> Counts:
    found_s = seen.found_s or 0.0
    return Counts(
        samples=counts.samples + 1,
        failures=counts.failures + (seen.early is True),
        found=counts.found + (seen.found_s is not None),
        missed=counts.missed + (seen.missed_after_s is not None),
        found_sum_s=round(counts.found_sum_s + found_s, 3),
        found_max_s=max(counts.found_max_s, found_s),
    )


def _last(things: dict[str, T], limit: int) -> dict[str, T]:
    return dict(list(things.items())[-limit:])


# as documents


def to_document(place: Place) -> dict[str, Any]:
    """A place as it is stored. Robots and objects are lists, because their names may be no field names."""
    return {
        "pause": asdict(place.pause), "found": asdict(place.found), "counts": asdict(place.counts),
        "robots": [{"robot": name, **asdict(one)} for name, one in place.robots.items()],
        "objects": [{"object": name, **asdict(one)} for name, one in place.objects.items()],
        "frozen": place.frozen,
    }  # fmt: skip


def from_document(document: Mapping[str, Any]) -> Place:
    """A stored place; fields that an older one lacks have their defaults."""
    return Place(
        pause=_pause(document["pause"]),
        found=_found(document["found"]),
        counts=Counts(**document["counts"]),
        robots={one["robot"]: OfRobot(_pause(one["pause"]), Counts(**one["counts"])) for one in document["robots"]},
        objects={one["object"]: OfObject(_found(one["found"]), Counts(**one["counts"])) for one in document["objects"]},
        frozen=bool(document.get("frozen")),
    )


def _pause(stored: Mapping[str, Any]) -> Pause:
    return Pause(**{**stored, "trend": Trend(stored["trend"])})


def _found(stored: Mapping[str, Any]) -> Found:
    return Found(**{**stored, "counts": tuple(stored["counts"])})
