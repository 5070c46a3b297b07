"""What one seed is about: workflows, tasks, robots, and the weather. Drawn from the seed, as data.

Called by: world.py. Small on purpose: a seed must cost little, and faults are found by their number.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.domain.priority import list_key, rank_at_end
from shared.domain.scenario import place_key
from tests.sim.script import FATES, Program, draw_program, source_of
from tests.sim.travel import Faults

ACCOUNT = "acme"
SECRET = "hunter2-is-no-password"
INPUT_SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
KEEP_ALIVE_S = 3.0
WEATHERS = ("calm", "network", "database", "crashes", "robots", "everything")


@dataclass(frozen=True)
class Workflow:
    """A workflow and its one version."""

    name: str
    program: Program
    settings: dict[str, Any]
    max_tasks: int
    group_by: list[str]
    task_s: float
    worker: bool = True
    """Whether it needs a robot."""
    warm: bool = False
    """Whether it is kept warm on robots that are exclusive to it."""
    source: str = ""

    @property
    def id(self) -> str:
        """Its `_id`."""
        return f"{ACCOUNT}/{self.name}"

    @property
    def scenarios(self) -> list[dict[str, Any]]:
        """As the version stores them."""
        only: dict[str, Any] = {
            "name": "only", "when": [], "group_by": self.group_by, "tags": [], "max_tasks": self.max_tasks,
            "worker": self.worker, "script": "only.py",
        }  # fmt: skip
        return [{**only, "warm": {"keep_alive_s": KEEP_ALIVE_S}} if self.warm else only]

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its document and its version's."""
        workflow = {
            "_id": self.id, "schema_version": 1, "account": ACCOUNT, "name": self.name, "title": self.name,
            "current": 1, "settings": self.settings,
        }  # fmt: skip
        version = {
            "_id": f"{self.id}/1", "schema_version": 1, "account": ACCOUNT, "workflow": self.name, "number": 1,
            "input": INPUT_SCHEMA, "scenarios": self.scenarios,
            "timeouts": {"task_s": self.task_s, "instruction_s": 5.0},
            "files": {"only.py": self.source or source_of(self.program)},
            "objects": {"go": {"selectors": ["#go"], "title": "go"}}, "digest": self.id,
        }  # fmt: skip
        return workflow, version


@dataclass(frozen=True)
class Task:
    """A task, and when it comes in."""

    id: str
    workflow: Workflow
    input: dict[str, Any]
    comes_s: float

    def document(self, at: datetime) -> dict[str, Any]:
        """As the collector inserts it."""
        account, name = ACCOUNT, self.workflow.name
        group = place_key(self.workflow.scenarios, self.input)
        rank = rank_at_end(int(at.timestamp() * 1_000_000))
        return {
            "_id": self.id, "schema_version": 1, "account": account, "partner": f"{account}/p", "workflow": name,
            "batch": "b", "reference": self.id, "input": self.input, "priority": None, "state": "queued",
            "attempts": 0, "created_at": at, "updated_at": at, "finished_at": None, "not_before": None,
            "eligible_at": None, "deadline": None, "group": group,
            "queue": {"list": str(list_key(account, name, None)), "key": group, "rank": rank}, "held_by": None,
            "hold": None, "result": None, "error": None, "evidence": [], "cancel": None, "pending": None, "events": {},
            "history": [], "op": f"in/{self.id}", "traceparent": None,
        }  # fmt: skip


@dataclass(frozen=True)
class Deed:
    """What a person, or fate, does at some moment."""

    at_s: float
    what: str
    """die, freeze, restart, cut, purge, outage; abort, stop, cancel, settle, mode: people's."""
    whom: int
    """Number of the process, task or robot, round the number that there is."""
    for_s: float = 0.0


@dataclass
class Scene:
    """All of one seed."""

    seed: int
    weather: str
    faults: Faults
    storm_s: float
    """When the faults end."""
    workflows: list[Workflow]
    tasks: list[Task]
    robots: list[str]
    exclusive: dict[str, str] = field(default_factory=dict)
    """Robots that take one workflow only, by their id."""
    deeds: list[Deed] = field(default_factory=list)


def draw_scene(seed: int) -> Scene:
    """The scene of a seed."""
    draw = random.Random(f"scene {seed}")
    weather = draw.choice(WEATHERS)
    workflows = [_workflow(draw, f"w{n}") for n in range(draw.choice((1, 1, 2)))]
    tasks = [_task(draw, n, draw.choice(workflows)) for n in range(draw.randrange(1, 6))]
    robots = [f"02510000000{n}" for n in range(draw.choice((1, 2, 2, 3)))]
    storm_s = draw.uniform(2.0, 7.0)
    scene = Scene(seed, weather, _faults(draw, weather), storm_s, workflows, tasks, robots)
    for workflow in workflows:
        if workflow.warm:
            scene.exclusive[draw.choice(robots[1:] or robots)] = workflow.id
    if len(scene.exclusive) == len(robots):  # somebody has to take what is nobody's own
        scene.exclusive.clear()
    scene.deeds = sorted(_deeds(draw, weather, storm_s), key=lambda one: one.at_s)
    return scene


def _workflow(draw: random.Random, name: str) -> Workflow:
    retry = {
        "attempts": draw.randrange(1, 4), "position": draw.choice(("end", "front")),
        "delay_s": draw.choice((0.0, 0.0, 1.0)), "in_doubt": draw.choice(("hold", "hold", "hold", "fail", "retry")),
    }  # fmt: skip
    settings: dict[str, Any] = {
        "pacing": {"mode": "off"},
        "priority": draw.randrange(6), "retry": retry, "tags": [],
        "concurrency": {"runs": draw.choice((None, None, 1)), "group": 1, "scope": "account"},
        "breaker": {"failures": draw.choice((None, None, 3)), "login_rejected": True},
        "limits": [],
    }  # fmt: skip
    group_by = ["company"] if draw.random() < 0.3 else []
    worker = draw.random() < 0.85
    return Workflow(
        name, draw_program(draw, robot=worker), settings, draw.randrange(1, 4), group_by,
        draw.choice((60.0, 60.0, 4.0)), worker=worker, warm=worker and not group_by and draw.random() < 0.15,
    )  # fmt: skip


def _task(draw: random.Random, n: int, workflow: Workflow) -> Task:
    given = {"id": f"t{n}", "fate": draw.choice(FATES), "company": draw.randrange(2)}
    return Task(f"task_{n}", workflow, given, 0.2 + 2.0 * draw.random() ** 2)


def _faults(draw: random.Random, weather: str) -> Faults:
    faults = Faults()
    some = draw.uniform(0.2, 1.0)
    if weather in ("network", "everything"):
        faults.lost, faults.doubled, faults.delayed = 0.25 * some, 0.2 * some, 0.2 * some
        faults.unconfirmed = 0.1 * some
    if weather in ("database", "everything"):
        faults.fails_before, faults.fails_after, faults.slow = 0.05 * some, 0.08 * some, 0.1
    if weather in ("crashes", "everything"):
        faults.dies_before, faults.dies_after = 0.006 * some, 0.035 * some
        faults.unreadable = 0.1 * draw.random()
    if weather in ("robots", "everything"):
        faults.driver_dies, faults.robot_dies = 0.05 * some, 0.05 * some
    faults.errs = draw.choice((0.0, 0.02, 0.1))
    faults.restart_s = draw.choice(((0.2, 1.0), (0.2, 3.0), (2.0, 6.0)))
    return faults


def _deeds(draw: random.Random, weather: str, storm_s: float) -> list[Deed]:
    kinds = {
        "calm": (), "network": ("purge", "cut", "cut"), "database": ("outage", "freeze"),
        "crashes": ("die", "die", "freeze", "restart", "cut"), "robots": ("robot_dies", "robot_cut"),
        "everything": ("die", "freeze", "restart", "cut", "purge", "outage", "robot_dies", "robot_cut"),
    }[weather]  # fmt: skip
    found = [
        Deed(draw.uniform(0.3, storm_s), draw.choice(kinds), draw.randrange(60), draw.uniform(0.3, 4.0))
        for _ in range(draw.randrange(1, 4) if kinds else 0)
    ]
    people = ("abort", "stop", "stop", "cancel", "cancel", "settle", "settle", "mode", "mode")
    if draw.random() < 0.5:
        found += [
            Deed(draw.uniform(0.5, storm_s), draw.choice(people), draw.randrange(60), draw.uniform(0.5, 3.0))
            for _ in range(draw.randrange(1, 4))
        ]
    return found


def harsher(seed: int) -> Scene:
    """The scene of a seed in weather that is three times as bad, and lasts longer."""
    scene = draw_scene(seed)
    for name in ("fails_before", "fails_after", "dies_before", "dies_after", "lost", "doubled", "delayed"):
        setattr(scene.faults, name, min(0.3, 3 * getattr(scene.faults, name)))
    scene.storm_s += 4.0
    return scene
