"""Figures of a storm."""

from __future__ import annotations

import pytest

from deploy.local.supervisor import Kept
from tests.chaos.faults import Act, faults
from tests.chaos.flow import Pushed
from tests.chaos.judging import Measured, in_hand, placed, recovered_s, table


def pushed(at_s: float, delivered_s: float | None) -> Pushed:
    return Pushed(f"r{at_s}", at_s, robot=False, id="task", delivered_s=delivered_s)


def test_in_hand_is_what_was_not_delivered_and_what_came_just_after() -> None:
    long_ago, done, open_, after, later = (
        pushed(50, 200), pushed(95, 99), pushed(96, 104), pushed(101, 109), pushed(103, 105),
    )  # fmt: skip
    assert in_hand([long_ago, done, open_, after, later], 100) == [open_, after]
    assert recovered_s([open_, after], 100) == 9


def test_one_that_never_comes_is_no_recovery() -> None:
    assert recovered_s([pushed(99, 101), pushed(99, None)], 100) is None
    assert recovered_s([], 100) == 0.0
    row = Measured("kill -9 x", 2, None, None, 1.0, 40.0)
    assert not row.holds
    assert "| kill -9 x | 2 | never **too long** | 40 |  | 1.0 |" in table([row])


def test_late_is_late_and_a_new_leader_is_shown() -> None:
    fine, late = Measured("a", 1, 9.9, 8.2, 1.0, 10.0), Measured("b", 1, 10.1, None, 1.0, 10.0)
    assert fine.holds
    assert not late.holds
    assert "| a | 1 | 9.9 | 10 | 8.2 | 1.0 |" in table([fine, late])


def test_a_table_takes_its_place_in_a_page() -> None:
    page = placed("before\n<b>\nold\n<e>\nafter\n", "new", "<b>", "<e>")
    assert page == "before\n<b>\nnew\n<e>\nafter\n"
    with pytest.raises(ValueError, match="no lines"):
        placed("nothing", "new", "<b>", "<e>")


def test_each_victim_is_killed_and_frozen_once_and_nothing_else_is() -> None:
    kept = [
        Kept(name, name.partition("-")[0], None, "", "", lambda _: None, lambda: True, 1.0)  # type: ignore[arg-type,return-value]
        for name in ("epmd", "broker-1", "executor-2", "robot-1", "proxy")
    ]
    found = faults(kept)
    assert [fault.title for fault in found] == [
        "kill -9 broker-1", "freeze broker-1", "kill -9 executor-2", "freeze executor-2",
    ]  # fmt: skip
    assert [fault.title for fault in faults(kept, "freeze b")] == ["freeze broker-1"]
    assert {fault.hold_s for fault in found if fault.act is Act.KILL} == {0.0}
