"""The real supervisor and driver on the real broker: what is answered, refused and kept."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from datetime import UTC, datetime
from typing import Any

from shared.contracts.envelope import encode
from shared.contracts.messages.worker_reply import ReplyOutcome, SessionState, WorkerReply
from tests.agent.bench import Bench


def code(reply: WorkerReply) -> str:
    assert reply.error is not None
    return reply.error.code


def test_an_act_is_done_once_and_answered_as_often_as_it_is_asked(robot: Bench) -> None:
    first = robot.ask(1, "files.append", path="log.txt", text="once")
    again = robot.ask(1, "files.append", path="log.txt", text="once")
    assert (first.outcome, first.repeated) == (ReplyOutcome.DONE, False)
    assert (again.outcome, again.repeated) == (ReplyOutcome.DONE, True)
    assert robot.ask(2, "files.read", path="log.txt").value == "once"
    assert robot.ask(2, "files.read", path="log.txt").repeated is False
    assert again.journal.id == first.journal.id
    assert robot.replies[-1].journal.counter >= again.journal.counter >= first.journal.counter > 0


def test_another_instruction_under_a_known_seq_is_refused(robot: Bench) -> None:
    robot.ask(1, "files.write", path="a", text="one")
    other = robot.ask(1, "files.write", path="a", text="two")
    assert (other.outcome, code(other)) == (ReplyOutcome.REFUSED, "MALFORMED")
    assert robot.ask(2, "files.read", path="a").value == "one"


def test_epochs_runs_and_old_seqs_are_fenced(robot: Bench) -> None:
    robot.ask(5, "files.write", path="a", text="one", run="run_a", epoch=3)
    assert code(robot.ask(6, "files.read", path="a", run="run_a", epoch=2)) == "STALE_EPOCH"
    assert code(robot.ask(6, "files.read", path="a", run="run_b", epoch=3)) == "STALE_EPOCH"
    assert code(robot.ask(4, "files.write", path="a", text="old", run="run_a", epoch=3)) == "UNKNOWN_SEQ"
    assert robot.ask(6, "files.read", path="a", run="run_a", epoch=3).value == "one"
    fresh = robot.ask(1, "files.exists", path="a", run="run_b", epoch=4)
    assert fresh.value is False, "a new run sees nothing of the one before"
    assert code(robot.ask(7, "files.read", path="a", run="run_a", epoch=3)) == "STALE_EPOCH"
    robot.until(lambda: robot.beats[-1].epoch == 4, "a heartbeat that knows the epoch")


def test_an_ended_run_is_forgotten_and_refused(robot: Bench) -> None:
    robot.ask(1, "files.write", path="a", text="one")
    assert (robot.home / "runs" / "run_1" / "a").read_text() == "one"
    robot.end_run("run_1", 1)
    robot.until(lambda: not (robot.home / "runs" / "run_1").exists(), "the folder to go")
    assert code(robot.ask(1, "files.write", path="a", text="one")) == "RUN_ENDED"
    assert code(robot.ask(2, "files.exists", path="a")) == "RUN_ENDED"
    assert robot.ask(3, "files.exists", path="a", epoch=2).value is False, "it may come back with a new reservation"


def test_malformed_messages_get_a_clear_answer_or_none_and_the_agent_goes_on(robot: Bench) -> None:
    queue = f"worker.{robot.worker}.instructions"
    good = robot.instruction(1, "files.write", path="a", text="one")
    body = json.loads(encode(good, id="m", sent_at=datetime.now(UTC), sender="x"))
    for broken in (b"\xff\x00", b"[]", b'{"kind": "regente.worker.instruction.v1"}', b"{" * 100_000):
        robot.publish(queue, broken)
    robot.publish(f"worker.{robot.worker}.control", b"nonsense")
    body["body"]["timeout_s"] = "soon"
    robot.publish(queue, json.dumps(body).encode())
    robot.until(lambda: bool(robot.replies), "a refusal")
    assert (robot.replies[0].seq, code(robot.replies[0])) == (1, "MALFORMED")
    robot.publish(queue, json.dumps({**body, "kind": "regente.worker.dance.v1"}).encode())
    robot.until(lambda: len(robot.replies) > 1, "a refusal")
    assert code(robot.replies[1]) == "MALFORMED"
    assert robot.answer(good).outcome is ReplyOutcome.DONE
    robot.until(lambda: sum("can't be read" in line.event for line in robot.lines) >= 6, "log lines about each")


BAD: list[tuple[str, dict[str, Any]]] = [
    ("files.dance", {"path": "a"}),
    ("files.write", {"path": "a"}),
    ("files.write", {"path": "a", "text": 7}),
    ("files.write", {"path": "a", "text": "b", "colour": "red"}),
    ("files.exists", {"path": "a", "effect": "act"}),
    ("browser.click", {"target": "css=#a"}),
    ("browser.click", {"target": {"$object": "a", "selectors": []}}),
    ("browser.open", {"url": "https://a", "certificate": {"$certificate": {"pkcs12": "?", "origins": []}}}),
    ("files.write", {"path": "../outside", "text": "b"}),
    ("files.write", {"path": "/etc/outside", "text": "b"}),
]


def test_bad_arguments_are_errors_that_a_script_may_catch(robot: Bench) -> None:
    for seq, (name, args) in enumerate(BAD, start=1):
        reply = robot.ask(seq, name, **args)
        assert (reply.outcome, code(reply)) == (ReplyOutcome.ERROR, "BAD_ARGUMENT"), (name, args)
        assert reply.desktop is SessionState.KEPT


def test_the_allow_list_of_programs_and_what_a_program_says(robot: Bench) -> None:
    done = robot.ask(
        1, "process.run", program="python", arguments=["import sys; print(sys.stdin.read()); sys.exit(3)"], text="in"
    )
    assert done.value == {"exit_code": "3", "stdout": "in\n", "stderr": ""}
    loud = robot.ask(2, "process.run", program="python", arguments=["print('x' * 300_000)"])
    assert len(loud.value["stdout"]) < 70_000
    assert code(robot.ask(3, "process.run", program="sh")) == "NOT_ALLOWED"
    assert code(robot.ask(4, "process.run", program="missing")) == "DRIVER_FAILED"
    slow = robot.ask(5, "process.run", program="python", arguments=["import time; time.sleep(60)"], timeout=0.2)
    assert (slow.outcome, code(slow), slow.desktop) == (ReplyOutcome.IN_DOUBT, "TIMEOUT", SessionState.KEPT)
    assert [entry["seq"] for entry in slow.recent] == [1, 2, 3, 4, 5]


def test_a_value_that_is_too_large_is_done_all_the_same(robot: Bench) -> None:
    robot.ask(1, "files.write", path="large", text="x" * 400_000)
    reply = robot.ask(2, "files.read", path="large")
    assert (reply.outcome, reply.value, reply.value_too_large) == (ReplyOutcome.DONE, None, True)


def test_evidence_travels_inside_or_beside_the_reply(robot: Bench) -> None:
    robot.ask(1, "files.write", path="small.txt", text="proof")
    small = robot.ask(2, "files.keep", path="small.txt")
    assert small.evidence[0].data is not None
    assert base64.b64decode(small.evidence[0].data) == b"proof"
    assert small.value["sha256"] == hashlib.sha256(b"proof").hexdigest() == small.evidence[0].sha256
    large = "y" * 900_000
    robot.ask(3, "files.write", path="large.txt", text=large)
    robot.ask(4, "files.append", path="large.txt", text=large)
    carried = robot.ask(5, "files.keep", path="large.txt", blobs=robot.enrolment.url)
    assert (carried.evidence[0].data, carried.evidence[0].dropped) == (None, False)
    assert robot.enrolment.blobs[carried.evidence[0].sha256] == (large * 2).encode()
    nowhere = robot.ask(6, "files.keep", path="large.txt", name="again")
    assert (nowhere.evidence[0].sha256, nowhere.evidence[0].dropped) == (carried.evidence[0].sha256, False)
    robot.ask(7, "files.append", path="large.txt", text="z")
    lost = robot.ask(8, "files.keep", path="large.txt")
    assert lost.evidence[0].dropped is True


def test_secrets_are_neither_in_the_journal_nor_in_the_logs_nor_in_errors(robot: Bench) -> None:
    secret = "correct-horse-battery"
    script = "import sys, os; sys.stderr.write(sys.argv[1]); os.kill(os.getppid(), 9)"
    reply = robot.ask(1, "process.run", program="python", arguments=[script, secret])
    assert reply.outcome is ReplyOutcome.IN_DOUBT
    robot.ask(2, "files.write", path="a", text=secret, epoch=2)
    robot.ask(3, "files.write", path="../" + "a", text=secret, epoch=2)
    assert robot.stop() == 0
    on_disk = b"".join(file.read_bytes() for file in robot.home.iterdir() if file.is_file())
    for place in (on_disk, robot.agent_output().encode(), *robot.raw_replies):
        assert secret.encode() not in place
    assert robot.password.encode() not in on_disk
    assert stat.S_IMODE((robot.home / "key").stat().st_mode) == 0o600


def test_a_robot_that_waits_to_be_authorised_and_one_that_is_refused(bench: Bench) -> None:
    authorised = bench.enrolment.answers
    bench.enrolment.answers = [(200, {"state": "pending", "retry_after_s": 0.2})] * 2 + authorised
    bench.start()
    asked = bench.enrolment.asked
    assert len(asked) == 3
    assert asked[0]["worker"] == bench.worker
    assert len(bytes.fromhex(asked[0]["key"])) == 32
    assert {"files", "process"} <= set(asked[0]["drivers"])
    bench.enrolment.answers = [(403, {"title": "Refused", "status": 403, "detail": "another key is known"})]
    bench.revoke()
    bench.until(lambda: "another key is known" in bench.agent_output(), "the refusal in the log")
    assert bench.agent is not None
    assert bench.agent.poll() is None
    assert bench.agent_output().count("another key is known") == 1
