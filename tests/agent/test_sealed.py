"""Sealed arguments: what the server seals the agent opens, does once, and keeps nowhere."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regente_agent import sealed, wire
from shared.contracts.messages.worker_instruction import WorkerInstruction
from shared.contracts.messages.worker_reply import ReplyOutcome
from shared.seal.instructions import seal_args
from tests.agent.bench import Bench
from tests.agent.test_contract import WORKER, bytes_of, instructions
from tests.agent.test_protocol import code

KEY = "a-key-of-thirty-two-bytes-for-tests-only-xy"
SECRET = "PLANTED-to-be-typed"


def sealed_to(message: WorkerInstruction, key: str) -> WorkerInstruction:
    """The message as an executor sends it when it holds secrets."""
    place: dict[str, Any] = {name: getattr(message, name) for name in ("worker", "run", "seq", "epoch")}
    return message.model_copy(update={"args": {}, "sealed": seal_args(key, message.args, **place)})


@given(instructions)
def test_what_is_sealed_is_the_same_instruction_as_the_one_in_clear(message: WorkerInstruction) -> None:
    clear = wire.parse_instruction(bytes_of(message), WORKER)
    read = wire.parse_instruction(bytes_of(sealed_to(message, KEY)), WORKER)
    assert read.args == {}
    opened = sealed.opened(read, WORKER, KEY)
    assert (opened, opened.digest(b"k")) == (clear, clear.digest(b"k"))


@given(instructions, st.sampled_from(["run", "seq", "epoch"]))
def test_what_was_moved_is_not_opened(message: WorkerInstruction, where: str) -> None:
    read = wire.parse_instruction(bytes_of(sealed_to(message, KEY)), WORKER)
    other: dict[str, Any] = {where: "run_other" if where == "run" else getattr(read, where) + 1}
    with pytest.raises(sealed.Unopened):
        sealed.opened(dataclasses.replace(read, **other), WORKER, KEY)


@pytest.mark.parametrize("text", ["", "AQ", "AQ==", "nonsense!", "Ä", "Ag" + "A" * 60, "AQ" + "A" * 58])
@pytest.mark.parametrize("key", [KEY, None, "short"])
def test_nonsense_is_not_opened_and_says_why(text: str, key: str | None) -> None:
    message = WorkerInstruction(
        worker=WORKER, run="run_1", seq=1, epoch=1, phase="task", name="files.read", args={}, effect="read",
        timeout_s=1, reply_to="e", sealed=text,
    )  # fmt: skip
    with pytest.raises(sealed.Unopened, match=r"\w"):
        sealed.opened(wire.parse_instruction(bytes_of(message), WORKER), WORKER, key)


def test_an_act_is_done_once_however_often_it_is_sealed_and_is_written_nowhere(robot: Bench) -> None:
    assert robot.enrolment.asked[-1]["opens_sealed"] is True
    assert robot.seal_key is not None
    act = robot.instruction(1, "process.run", program="python", arguments=["pass", SECRET])
    first, again = robot.answer(sealed_to(act, robot.seal_key)), robot.answer(sealed_to(act, robot.seal_key))
    assert (first.outcome, first.repeated, again.repeated) == (ReplyOutcome.DONE, False, True)
    unsealed = robot.answer(act)
    assert unsealed.repeated, "it is known by what it opens to"
    failing = robot.instruction(2, "process.run", program="missing", arguments=[SECRET])
    assert robot.answer(sealed_to(failing, robot.seal_key)).outcome is not ReplyOutcome.DONE
    written = [path for path in robot.home.rglob("*") if path.is_file()]
    assert len(written) >= 3
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in robot.agent_output()
    assert not any(SECRET.encode() in reply for reply in robot.raw_replies)


def test_what_it_cannot_open_is_not_done_and_can_be_sent_again(robot: Bench) -> None:
    assert robot.seal_key is not None
    act = robot.instruction(1, "files.append", path="log.txt", text=SECRET, epoch=2)
    refused = robot.answer(sealed_to(act, secrets.token_urlsafe(32)))
    assert (refused.outcome, code(refused)) == (ReplyOutcome.REFUSED, "SEALED")
    assert SECRET not in str(refused)
    done = robot.answer(sealed_to(act, robot.seal_key))
    assert (done.outcome, done.repeated) == (ReplyOutcome.DONE, False)
    assert robot.ask(2, "files.read", path="log.txt", epoch=2).value == SECRET
    old = robot.instruction(3, "files.append", path="log.txt", text="x", epoch=1)
    assert code(robot.answer(sealed_to(old, secrets.token_urlsafe(32)))) == "STALE_EPOCH"


def test_what_was_done_is_answered_also_when_it_can_be_opened_no_more(robot: Bench) -> None:
    """SEALED would say that it was not done."""
    assert robot.seal_key is not None
    act = robot.instruction(1, "files.append", path="log.txt", text=SECRET)
    assert robot.answer(sealed_to(act, robot.seal_key)).outcome is ReplyOutcome.DONE
    again = robot.answer(sealed_to(act, KEY))
    assert (again.outcome, again.repeated) == (ReplyOutcome.DONE, True)
    slow = robot.instruction(2, "process.run", program="python", arguments=["import time; time.sleep(2)"])
    robot.send(sealed_to(slow, robot.seal_key))
    assert code(robot.answer(sealed_to(slow, KEY))) == "BUSY"
    robot.until(lambda: robot.replies[-1].seq == 2 and robot.replies[-1].outcome is ReplyOutcome.DONE, "its end")
    robot.end_run("run_1", 1)
    robot.until(lambda: not (robot.home / "runs" / "run_1").exists(), "the folder to go")
    assert code(robot.answer(sealed_to(act, KEY))) == "RUN_ENDED"


def test_a_server_that_gives_no_key_is_told_so(bench: Bench) -> None:
    bench.seal_key = None
    bench.enrolment.answers = [(200, bench.access())]
    bench.start()
    reply = bench.answer(sealed_to(bench.instruction(1, "files.append", path="a", text="b"), KEY))
    assert (reply.outcome, code(reply)) == (ReplyOutcome.REFUSED, "SEALED")
    assert reply.error is not None
    assert "no key" in reply.error.message
