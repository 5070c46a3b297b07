"""Kills, cuts and timeouts in the middle of work: nothing is done twice, and what may have been done is in doubt."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from shared.contracts.messages.worker_reply import ReplyOutcome, SessionState, WorkerReply
from tests.agent.bench import Bench

MARK_AND_WAIT = "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(60)"
"""A program that leaves a mark, then hangs."""


def code(reply: WorkerReply) -> str:
    assert reply.error is not None
    return reply.error.code


def hang(bench: Bench, mark: Path, seq: int, **rest: Any) -> None:
    """Send an act that hangs, and wait until it has begun."""
    bench.send(bench.instruction(seq, "process.run", program="python", arguments=[MARK_AND_WAIT, str(mark)], **rest))
    bench.until(lambda: mark.exists() and mark.read_text() == "x", "the program to begin")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def programs(mark: Path) -> list[int]:
    """Processes that were started with this mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(mark).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_kill_9_of_the_driver_in_the_middle_of_an_act(robot: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hang(robot, mark, 1)
    os.kill(robot.driver_pid(), signal.SIGKILL)
    robot.until(lambda: bool(robot.replies), "the outcome")
    reply = robot.replies[0]
    assert (reply.outcome, code(reply), reply.desktop) == (ReplyOutcome.IN_DOUBT, "DRIVER_FAILED", SessionState.LOST)
    assert [entry["name"] for entry in reply.recent] == ["process.run"]
    robot.until(lambda: not programs(mark), "the program to be ended")
    again = robot.ask(1, "process.run", program="python", arguments=[MARK_AND_WAIT, str(mark)])
    assert (again.outcome, again.repeated, again.desktop) == (ReplyOutcome.IN_DOUBT, True, SessionState.LOST)
    after = robot.ask(2, "files.exists", path="a")
    assert (after.outcome, code(after), after.desktop) == (ReplyOutcome.REFUSED, "SESSION_LOST", SessionState.LOST)
    assert robot.ask(1, "files.exists", path="a", run="run_2", epoch=2).outcome is ReplyOutcome.DONE
    assert mark.read_text() == "x"


def test_kill_9_of_the_driver_between_instructions(robot: Bench) -> None:
    robot.ask(1, "files.write", path="a", text="one")
    os.kill(robot.driver_pid(), signal.SIGKILL)
    robot.until(lambda: any("between instructions" in line.event for line in robot.lines), "the log line")
    assert code(robot.ask(2, "files.read", path="a")) == "SESSION_LOST"
    known = robot.ask(1, "files.write", path="a", text="one")
    assert (known.outcome, known.repeated, known.desktop) == (ReplyOutcome.DONE, True, SessionState.LOST)


def test_kill_9_of_the_whole_agent_in_the_middle_of_an_act(robot: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    robot.ask(1, "files.write", path="a", text="one")
    hang(robot, mark, 2)
    driver, counter, session = robot.driver_pid(), robot.replies[-1].journal.counter, robot.replies[-1].session
    robot.kill()
    robot.until(lambda: gone(driver) and not programs(mark), "driver and program to die with the agent")
    seen = len(robot.replies)
    robot.start()
    robot.until(lambda: len(robot.replies) > seen, "the answer to what was in hand, without being asked again")
    reply = robot.replies[-1]
    assert (reply.seq, reply.outcome, reply.repeated) == (2, ReplyOutcome.IN_DOUBT, True)
    assert reply.desktop is SessionState.LOST
    assert reply.session != session
    assert reply.journal.counter > counter
    assert robot.ask(1, "files.write", path="a", text="one").repeated is True
    assert code(robot.ask(3, "files.read", path="a")) == "SESSION_LOST"
    assert mark.read_text() == "x"


def test_an_instruction_sent_again_while_it_is_in_flight(robot: Bench, tmp_path: Path) -> None:
    mark, go = tmp_path / "mark", tmp_path / "go"
    script = (
        "import sys, time, os\nopen(sys.argv[1], 'a').write('x')\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.02)"
    )
    second: list[bytes] = []
    robot.listen(f"reply.{robot.worker}.executor-2", second.append)
    message = robot.instruction(1, "process.run", program="python", arguments=[script, str(mark), str(go)])
    robot.send(message)
    robot.until(mark.exists, "the program to begin")
    robot.send(message.model_copy(update={"reply_to": "executor-2"}))
    robot.send(message)
    busy = robot.ask(2, "files.write", path="a", text="x")
    assert (busy.outcome, code(busy)) == (ReplyOutcome.REFUSED, "BUSY")
    stale = robot.ask(9, "files.write", path="a", text="x", run="run_0", epoch=1)
    assert code(stale) == "STALE_EPOCH"
    robot.until(lambda: robot.beats[-1].driver == "busy" and robot.beats[-1].seq == 1, "a heartbeat that says so")
    go.touch()
    robot.until(lambda: bool(second) and any(r.seq == 1 for r in robot.replies), "answers to both")
    assert mark.read_text() == "x"
    assert [r.outcome for r in robot.replies if r.seq == 1] == [ReplyOutcome.DONE]


def test_a_higher_epoch_cuts_what_is_in_flight(robot: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hang(robot, mark, 1)
    reply = robot.ask(1, "files.exists", path="a", run="run_2", epoch=2)
    assert reply.outcome is ReplyOutcome.DONE
    first = robot.replies[0]
    assert (first.run, first.outcome, first.desktop) == ("run_1", ReplyOutcome.IN_DOUBT, SessionState.LOST)
    assert not programs(mark)


def test_an_abort_cuts_the_act_in_flight_within_two_seconds(robot: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hang(robot, mark, 1)
    robot.abort("run_other", 1)
    robot.abort("run_1", 7)
    robot.until(lambda: sum("was ignored" in line.event for line in robot.lines) == 2, "aborts of others to be ignored")
    assert not robot.replies
    began = time.monotonic()
    robot.abort("run_1", 1)
    robot.until(lambda: bool(robot.replies), "the outcome")
    assert time.monotonic() - began < 2
    reply = robot.replies[0]
    assert (reply.outcome, code(reply), reply.desktop) == (ReplyOutcome.IN_DOUBT, "ABORTED", SessionState.LOST)
    assert not programs(mark)
    robot.ask(1, "files.exists", path="a", run="run_2", epoch=2)
    robot.abort("run_2", 2)
    robot.until(
        lambda: code(robot.ask(2, "files.exists", path="a", run="run_2", epoch=2)) == "SESSION_LOST", "the abort"
    )


def test_only_the_agent_times_an_act_out(robot: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hang(robot, mark, 1, timeout_s=0.8)
    robot.until(lambda: bool(robot.replies), "the outcome")
    reply = robot.replies[0]
    assert (reply.outcome, code(reply), reply.desktop) == (ReplyOutcome.IN_DOUBT, "TIMEOUT", SessionState.LOST)
    assert not programs(mark)


def test_sigterm_cuts_what_does_not_end_and_says_so(robot: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hang(robot, mark, 1)
    began = time.monotonic()
    assert robot.stop() == 0
    assert time.monotonic() - began < 10
    robot.until(lambda: bool(robot.replies), "the outcome")
    assert (robot.replies[0].outcome, code(robot.replies[0])) == (ReplyOutcome.IN_DOUBT, "ABORTED")
    assert not programs(mark)


def test_a_second_agent_on_the_same_folder_is_refused(robot: Bench) -> None:
    first = robot.agent
    robot.spawn()
    assert robot.agent is not None
    assert robot.agent.wait(10) == 3
    robot.agent = first
    assert "another agent uses" in robot.agent_output()


def test_a_cut_connection_comes_back_and_the_log_arrives_in_order_once(robot: Bench) -> None:
    seq = 0
    for _ in range(3):
        for _ in range(5):
            seq += 1
            assert robot.ask(seq, "files.append", path="log", text="x").outcome is ReplyOutcome.DONE
        beats = len(robot.beats)
        robot.cut()
        wait_for_beat(robot, beats)
    assert robot.ask(seq + 1, "files.read", path="log").value == "x" * seq
    expected = ["files.append"] * seq + ["files.read"]
    robot.until(lambda: len(acts(robot)) >= len(expected), "all lines")
    assert acts(robot) == expected
    numbers = list(dict.fromkeys(line.n for line in robot.lines))
    assert numbers == sorted(numbers)


def wait_for_beat(bench: Bench, seen: int) -> None:
    """Wait until a heartbeat comes over the new connection."""
    bench.until(lambda: len(bench.beats) > seen, "a heartbeat of the new connection")


def acts(bench: Bench) -> list[str]:
    """What the log tells of instructions, each line once by its number, as the server stores them."""
    return [line.event for line in {line.n: line for line in bench.lines}.values() if line.event.startswith("files.")]


def test_a_revoked_robot_enrols_again_and_missing_queues_are_read_when_they_are_back(robot: Bench) -> None:
    robot.channel.queue_delete(f"worker.{robot.worker}.instructions")
    robot.until(lambda: any("can't be read for now" in line.event for line in robot.lines), "the log line")
    robot.declare()
    message = robot.instruction(1, "files.write", path="a", text="one")
    assert robot.answer(message).outcome is ReplyOutcome.DONE
    asked = len(robot.enrolment.asked)
    robot.enrolment.answers = [(200, {"state": "pending", "retry_after_s": 0.2})]
    robot.revoke()
    robot.until(lambda: len(robot.enrolment.asked) > asked + 1, "it to ask for a place again")
    beats = len(robot.beats)
    robot.authorise()
    robot.until(lambda: len(robot.beats) > beats, "it to be back")
    assert robot.ask(2, "files.read", path="a").value == "one", "the desktop outlives a lost connection"
