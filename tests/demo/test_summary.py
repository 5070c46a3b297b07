"""The demo's verdict: it holds only when every side saw what it should have seen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from demo.partner.push import read_tasks
from demo.summary import Observed, expected_outcome, judge
from tests.demo.servers import ROOT


def _perfect() -> Observed:
    pushed = read_tasks(ROOT / "demo" / "tasks.csv", "s")
    observed = Observed(pushed=pushed, screenshots=23, seconds=60.0)
    for task in pushed:
        name = task["reference"]
        good = expected_outcome(task) == "succeeded"
        seen: dict[str, Any] = {"reference": name, "state": "succeeded"} if good else _failed(name, "business")
        observed.tasks[name] = seen
        observed.deliveries.append({"repeats": 0, "content": {"data": copy.deepcopy(seen)}})
        if good:
            observed.submits[name] = 1
    return observed


def _failed(name: str, kind: str) -> dict[str, Any]:
    return {"reference": name, "state": "failed", "error": {"kind": kind, "message": "unknown"}}


def test_a_perfect_run_holds_and_says_the_figures() -> None:
    observed = _perfect()
    checks = judge(observed)
    assert observed.done()
    assert all(check.holds for check in checks)
    assert [check.text for check in checks] == [
        "12 tasks: 11 succeeded, 1 business failure",
        "12 signed deliveries verified",
        "23 screenshots, fetched by the partner",
        "11 certificates issued by the portal, each exactly once",
        "5.0 seconds per task (60 s in all)",
    ]


def _submit_twice(observed: Observed) -> None:
    observed.submits["s-001"] = 2


def _submit_never(observed: Observed) -> None:
    del observed.submits["s-001"]


def _submit_the_unknown(observed: Observed) -> None:
    observed.submits["s-007"] = 1


def _lose_a_delivery(observed: Observed) -> None:
    observed.deliveries.pop()


def _deliver_twice_under_two_ids(observed: Observed) -> None:
    observed.deliveries.append(observed.deliveries[0])


def _conflict(observed: Observed) -> None:
    observed.conflicts = 1


def _reject(observed: Observed) -> None:
    observed.rejected = 1


def _system_failure(observed: Observed) -> None:
    observed.tasks["s-007"] = _failed("s-007", "system")


def _unexpected_failure(observed: Observed) -> None:
    observed.tasks["s-001"] = _failed("s-001", "business")


def _few_screenshots(observed: Observed) -> None:
    observed.screenshots = 11


@pytest.mark.parametrize(
    "spoil",
    [
        _submit_twice, _submit_never, _submit_the_unknown, _lose_a_delivery, _deliver_twice_under_two_ids, _conflict,
        _reject, _system_failure, _unexpected_failure, _few_screenshots,
    ],
)  # fmt: skip
def test_anything_amiss_fails_exactly_one_line(spoil: Callable[[Observed], None]) -> None:
    observed = _perfect()
    spoil(observed)
    assert [check.holds for check in judge(observed)].count(False) == 1


def test_a_held_task_is_not_done_though_its_hold_was_delivered() -> None:
    observed = _perfect()
    held = {"reference": "s-001", "state": "held"}
    observed.tasks["s-001"] = held
    observed.deliveries[0]["content"]["data"] = held
    assert not observed.done()
