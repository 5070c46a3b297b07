"""Scenarios without a robot in the order of work, and scripts that may use none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.scheduler.core.opening import Opening, run_document
from services.scheduler.core.order import SERVER, fitting_scenarios, plan_of, robot_class
from shared.contracts.workflow_file import Scenario
from shared.domain.gates import Rules
from shared.obs.clock import now
from shared.script.check import check_workflow

ROBOT: dict[str, Any] = {"_id": "r", "account": None, "tags": []}
SCRIPT = "def execute(task: dict[str, str]) -> dict[str, str]:\n    return {}\n"
WITH_ROBOT = "from robot import browser\n" + SCRIPT.replace("return {}", 'browser.open("x")\n    return {}')


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_each_scenario_is_run_by_robots_or_by_the_server(workers: list[bool]) -> None:
    plan = plan_of({"_id": "v", "scenarios": [{"name": f"s{n}", "worker": one} for n, one in enumerate(workers)]})
    robots = fitting_scenarios(ROBOT, "acme", "tax", Rules(), plan)
    server = fitting_scenarios(SERVER, "acme", "tax", Rules(tags=frozenset({"web"})), plan)
    assert robots == {n for n, one in enumerate(workers) if one}
    assert server == {n for n, one in enumerate(workers) if not one}, "a workflow's tags are about robots"
    assert robot_class(SERVER) != robot_class(ROBOT), "what one finds nothing for, the other may"


def test_a_run_without_a_robot_has_epoch_0() -> None:
    opening = Opening(
        run="run_1", account="acme", workflow="tax", version="v", scenario="s", worker=None, epoch_before=0,
        tasks=["t"], seed=1, at=now(),
    )  # fmt: skip
    run = run_document(opening, {"t": 1})
    assert (run["worker"], run["epoch"]) == (None, 0)


def _files(script: str, *workers: bool) -> dict[str, str]:
    lines = [f"  - {{name: s{n}, worker: {str(one).lower()}, script: a.py}}" for n, one in enumerate(workers)]
    return {"workflow.yaml": "\n".join(["name: tax", "scenarios:", *lines]), "a.py": script}


async def test_a_script_of_a_scenario_without_a_robot_may_not_use_one() -> None:
    assert (await check_workflow(_files(WITH_ROBOT, True))).errors == ()
    assert (await check_workflow(_files(SCRIPT, False))).errors == ()
    for workers in ((False,), (True, False)):
        (error,) = (await check_workflow(_files(WITH_ROBOT, *workers))).errors
        assert (error.file, error.line) == ("a.py", 1)
        assert error.message == "uses a robot, but its scenario says worker: false"


def test_tags_are_for_robots() -> None:
    with pytest.raises(ValidationError, match="tags are what a robot must have"):
        Scenario.model_validate({"name": "s", "script": "a.py", "worker": False, "tags": ["web"]})


async def test_keepalive_takes_the_group() -> None:
    alive = SCRIPT + "def keepalive(group: dict[str, str]) -> None:\n    pass\n"
    assert (await check_workflow(_files(alive, True))).errors == ()
    (error,) = (await check_workflow(_files(alive.replace("group: dict[str, str]", ""), True))).errors
    assert error.message == "keepalive takes one argument: keepalive(group)"
