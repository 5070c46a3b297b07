"""What an instruction and its reply say about waits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.pacing import (
    Planned,
    blamed,
    bounds_of,
    is_paced,
    lengthened_s,
    object_of,
    observed,
    own_wait_s,
    place_of,
    wait_of,
)
from shared.contracts.catalogue import catalogue
from shared.domain.pacing import Observation
from shared.domain.pacing_find import Wait
from shared.domain.pacing_pause import Bounds

TARGET = {"target": {"$object": "go"}}


def planned(name: str = "browser.click", args: dict[str, Any] | None = None) -> Planned:
    own_s = own_wait_s(name, args or TARGET, 30.0)
    return Planned(0.5, None, 30.0, "acme/tax", "p", "run_1", "w", name, "go", Wait(own_s or 0), own_s)


def test_a_place_is_one_line_of_a_script() -> None:
    stored = {"script": "steps/tax.py", "function": "execute", "line": 12, "name": "browser.click"}
    assert place_of(stored) == "steps|tax.py:execute:12:browser.click"
    assert place_of({"script": "tax.py", "function": None, "line": None, "name": "files.read"}) == "tax.py:::files.read"


def test_only_instructions_that_meet_a_page_or_window_are_paced() -> None:
    paced = {name.partition(".")[0] for name in catalogue() if is_paced(name)}
    assert paced == {"browser"}
    assert is_paced("windows.click")


@pytest.mark.parametrize(
    ("name", "args", "own_s"),
    [
        ("browser.click", TARGET, 25), ("browser.exists", TARGET, 5), ("browser.exists", {**TARGET, "timeout": 0}, 0),
        ("browser.text", {**TARGET, "timeout": 40}, 40), ("browser.open", {"url": "x"}, 25), ("browser.url", {}, None),
        ("browser.press", {"keys": "Enter"}, None),
    ],
)  # fmt: skip
def test_how_long_the_robot_waits_by_itself(name: str, args: dict[str, Any], own_s: float | None) -> None:
    assert own_wait_s(name, args, 30.0) == own_s
    wait = wait_of(name, args, 30.0, 3)
    assert (wait is None) is (own_s is None or "timeout" in args)
    if wait is not None:
        assert (wait.default_s, wait.needed, wait.turn) == (own_s, name != "browser.exists", 3)
        assert wait.shortens is (name != "browser.open")


@given(st.floats(1, 3600), st.floats(0, 60), st.none() | st.floats(0.1, 600))
def test_an_instruction_keeps_its_time_beside_pause_and_wait(
    timeout_s: float, pause_s: float, find_s: float | None
) -> None:
    longer = lengthened_s(timeout_s, pause_s, find_s)
    assert longer == 3600 or longer >= timeout_s + pause_s - 1e-9
    assert longer == 3600 or longer - pause_s - 5 >= (find_s or 0)


@pytest.mark.parametrize(
    ("name", "outcome", "code", "found_s", "value", "early", "missed"),
    [
        ("browser.click", "done", "", 0.4, None, False, False),
        ("browser.click", "error", "TIMEOUT", None, None, True, True),
        ("browser.click", "in_doubt", "TIMEOUT", 0.4, None, True, False),
        ("browser.select", "error", "NOT_FOUND", 0.4, None, True, False),
        ("browser.click", "error", "BAD_ARGUMENT", None, None, None, False),
        ("browser.click", "error", "ABORTED", None, None, None, False),
        ("browser.exists", "done", "", None, False, None, True),
        ("browser.exists", "done", "", 0.2, True, False, False),
        ("browser.open", "error", "TIMEOUT", None, None, None, True),
        ("browser.open", "error", "DRIVER_FAILED", None, None, None, False),
    ],
)
def test_what_a_reply_says(
    name: str, outcome: str, code: str, found_s: float | None, value: Any, early: bool | None, missed: bool
) -> None:
    seen = observed(planned(name), outcome=outcome, code=code, found_s=found_s, value=value)
    assert (seen.early, seen.missed_after_s is not None) == (early, missed)
    assert seen.found_s == (found_s if outcome == "done" else None)


def test_a_click_that_nothing_came_of_is_to_blame_too() -> None:
    click, failed = Observation(early=False), Observation(early=True)
    assert blamed(click, failed, "TIMEOUT").early is True
    assert blamed(click, failed, "DRIVER_FAILED").early is False
    assert blamed(click, Observation(early=False), "").early is False
    assert blamed(Observation(early=None), failed, "TIMEOUT").early is None


def test_settings_become_bounds_and_old_ones_have_defaults() -> None:
    assert bounds_of({}) == Bounds()
    assert bounds_of({"pause_max_s": 2, "find_max_s": 30, "retry_after_hours": 10, "mode": "learn"}) == Bounds(
        2, 30, 10
    )
    assert object_of(TARGET) == "go"
    assert object_of({"url": "x"}) is None
