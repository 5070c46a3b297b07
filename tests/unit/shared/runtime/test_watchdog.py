"""When a loop counts as standing still, and what is said to systemd."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from shared.obs import loops
from shared.obs.loops import Loop
from shared.runtime.watchdog import Notifier, Watchdog, stacks


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of other tests' services don't count."""
    monkeypatch.setattr(loops, "_known", {})


def looks(dog: Watchdog, since_s: float, until_s: float, step_s: float = 1.0) -> list[str]:
    """Names of the loops that stand still at the last look."""
    found: list[str] = []
    at_s = since_s
    while at_s <= until_s:
        found = [loop.name for loop, _ in dog.look(at_s)]
        at_s += step_s
    return found


def test_a_loop_that_turns_is_well_and_one_that_does_not_is_named() -> None:
    dog = Watchdog(10)
    with Loop("turns") as one, Loop("hangs"):
        for at_s in range(30):
            one.turn()
            dog.look(float(at_s))
        assert list(dog.hung) == ["hangs"]
    assert not dog.look(30.0)
    assert not dog.hung


def test_a_rest_that_was_announced_is_no_hang() -> None:
    dog = Watchdog(10)
    with Loop("rests") as loop:
        loop.turn(100)
        assert looks(dog, 0, 105) == []
        assert looks(dog, 106, 115) == ["rests"]
        loop.turn()
        assert looks(dog, 116, 120) == []


def test_a_loop_may_say_how_long_its_turn_takes() -> None:
    dog = Watchdog(10)
    with Loop("slow", turn_s_max=50):
        assert looks(dog, 0, 45) == []
        assert looks(dog, 46, 60) == ["slow"]


def test_time_in_which_nobody_looked_counts_for_little() -> None:
    dog = Watchdog(10)
    with Loop("frozen with the process"):
        dog.look(0.0)
        assert not dog.look(10_000.0)


def test_a_loop_that_ends_by_an_error_is_missed_and_one_that_is_cancelled_is_not() -> None:
    dog = Watchdog(10)
    with pytest.raises(ValueError), Loop("broke"):
        raise ValueError
    with pytest.raises(asyncio.CancelledError), Loop("cancelled"):
        raise asyncio.CancelledError
    assert looks(dog, 0, 20) == ["broke"]


def test_switched_off_it_names_nobody() -> None:
    with Loop("hangs"):
        assert looks(Watchdog(0), 0, 10_000, 1.0) == []


async def test_stacks_name_where_threads_and_tasks_are() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer_of_the_task() -> None:
        await inner()

    task = asyncio.create_task(outer_of_the_task(), name="a-task")
    await asyncio.sleep(0)
    text = await asyncio.to_thread(stacks, asyncio.get_running_loop())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    own = text[text.index("task a-task") :]
    assert own.index("outer_of_the_task") < own.index(" inner") < own.index(" wait")
    assert "thread MainThread" in text


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_at_its_address(tmp_path: Path, abstract: bool) -> None:
    name = f"regente-{tmp_path.name}-{id(tmp_path)}"
    address, given = (f"\0{name}", f"@{name}") if abstract else (str(tmp_path / "s"), str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(20)
        notifier = Notifier({"NOTIFY_SOCKET": given, "WATCHDOG_USEC": "4000000"})
        assert notifier.every_s == 2.0
        notifier.say("READY=1")
        notifier.say("WATCHDOG=1", watchdog=True)
        assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
        notifier.close()


def test_nobody_is_told_where_nobody_listens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"WATCHDOG_USEC": "x"},
                        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}):  # fmt: skip
        notifier = Notifier(environment)
        assert notifier.every_s is None
        notifier.say("READY=1")
        notifier.close()
