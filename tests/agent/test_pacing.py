"""The robot's waits as the server says: a pause before acting, a limit for what appears, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from regente_agent import wire
from regente_agent.drivers.contract import Job
from shared.contracts.messages.worker_instruction import WorkerInstruction
from shared.contracts.messages.worker_reply import ReplyOutcome, SessionState
from tests.agent.bench import Bench
from tests.agent.test_browser import Site, serving
from tests.agent.test_contract import WORKER, bytes_of


def paced(
    bench: Bench, seq: int, of: str, /, *, pause_s: float | None = None, find_s: float | None = None, **args: Any
) -> WorkerInstruction:
    """An instruction with a pace."""
    return bench.instruction(seq, of, **args).model_copy(update={"pause_s": pause_s, "find_s": find_s})


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


def target(selector: str) -> dict[str, Any]:
    return {"$object": "it", "selectors": [selector]}


def test_the_pace_is_read_and_old_executors_send_none() -> None:
    message = WorkerInstruction(
        worker=WORKER, run="run_1", seq=1, epoch=1, phase="task", name="browser.click", args={}, effect="act",
        timeout_s=30, reply_to="executor-1", pause_s=0.5, find_s=3,
    )  # fmt: skip
    read = wire.parse_instruction(bytes_of(message), WORKER)
    assert (read.pause_s, read.find_s) == (0.5, 3.0)
    plain = wire.parse_instruction(bytes_of(message.model_copy(update={"pause_s": None, "find_s": None})), WORKER)
    assert (plain.pause_s, plain.find_s) == (0.0, None)
    assert read.digest(b"key") == plain.digest(b"key"), "the same act, asked again with another pace"


@pytest.mark.parametrize(("name", "value"), [("pause_s", -1), ("pause_s", "1"), ("pause_s", 601), ("find_s", 0)])
def test_a_wrong_pace_is_malformed(name: str, value: object) -> None:
    body = {
        "worker": WORKER, "run": "run_1", "seq": 1, "epoch": 1, "phase": "task", "name": "browser.url", "args": {},
        "effect": "read", "timeout_s": 30, "reply_to": "executor-1", name: value,
    }  # fmt: skip
    with pytest.raises(wire.Malformed, match=name):
        wire.parse_instruction(wire.encode(wire.INSTRUCTION, body, "executor-1"), WORKER)


def test_how_long_a_job_waits(tmp_path: Any) -> None:
    def job(find_s: float | None, timeout_s: float = 30.0) -> Job:
        return Job("browser.click", "act", False, timeout_s, tmp_path, tmp_path, find_s)

    assert job(None).wait_s(None) == 25
    assert job(None).wait_s(None, 5.0) == 5
    assert job(3.0).wait_s(None, 5.0) == 3
    assert job(3.0).wait_s(12.0) == 12, "the script's own time is never changed"
    assert job(60.0).wait_s(None) == 25, "it ends within the instruction's time"


def test_an_act_begins_after_its_pause(robot: Bench) -> None:
    started = time.monotonic()
    reply = robot.answer(paced(robot, 1, "files.write", pause_s=0.8, path="a.txt", text="x"))
    assert reply.outcome is ReplyOutcome.DONE
    assert 0.8 <= reply.duration_s < 5
    assert time.monotonic() - started >= 0.8
    assert robot.ask(2, "files.read", path="a.txt").value == "x"
    again = robot.answer(paced(robot, 1, "files.write", path="a.txt", text="x"))
    assert (again.repeated, again.outcome) == (True, ReplyOutcome.DONE)


def test_an_abort_in_the_pause_is_no_doubt_nothing_was_done(robot: Bench) -> None:
    robot.ask(1, "files.exists", path="a.txt")
    robot.send(paced(robot, 2, "files.write", pause_s=15, path="a.txt", text="x"))
    robot.until(lambda: bool(robot.beats) and robot.beats[-1].seq == 2, "the pause to begin")
    started = time.monotonic()
    robot.abort("run_1", 1)
    robot.until(lambda: any(reply.seq == 2 for reply in robot.replies), "a reply")
    (reply,) = [reply for reply in robot.replies if reply.seq == 2]
    assert time.monotonic() - started < 8
    assert (reply.outcome, reply.error and reply.error.code) == (ReplyOutcome.ERROR, "ABORTED")
    assert reply.desktop is SessionState.LOST


def test_a_pause_is_counted_in_the_instructions_time(robot: Bench) -> None:
    """A pause longer than the time leaves is cut, so that the act still has its time."""
    reply = robot.answer(paced(robot, 1, "files.write", pause_s=60, timeout_s=7.0, path="a.txt", text="x"))
    assert (reply.outcome, reply.duration_s < 6) == (ReplyOutcome.DONE, True)


def test_the_robot_waits_as_told_and_says_how_long_it_took(robot: Bench, site: Site) -> None:
    opened = robot.ask(1, "browser.open", url=site.url)
    assert opened.found_s is not None
    assert 0 < opened.found_s <= opened.duration_s
    missing = robot.answer(paced(robot, 2, "browser.click", find_s=0.7, target=target("css=#missing")))
    assert (missing.outcome, missing.error and missing.error.code) == (ReplyOutcome.ERROR, "TIMEOUT")
    assert missing.error is not None
    assert "within 0.7 s" in missing.error.message
    assert missing.found_s is None
    absent = robot.answer(paced(robot, 3, "browser.exists", find_s=0.5, target=target("css=#missing")))
    assert (absent.value, absent.found_s, absent.duration_s < 3) == (False, None, True)
    robot.ask(4, "browser.click", target=target("css=#late-button"))
    late = robot.answer(paced(robot, 5, "browser.text", find_s=8, target=target("css=#late")))
    assert late.value == "Here"
    assert late.found_s is not None
    assert late.found_s <= late.duration_s
    own = robot.answer(paced(robot, 6, "browser.wait", find_s=15, target=target("css=#missing"), timeout=0.4))
    assert own.error is not None
    assert "within 0.4 s" in own.error.message
    covered = robot.answer(paced(robot, 7, "browser.click", find_s=1, target=target("css=#covered")))
    assert (covered.outcome, covered.found_s) == (ReplyOutcome.ERROR, None)
