"""The agent's wire format and drivers beside the server's contracts: they share no code; this holds them together."""

from __future__ import annotations

import ast
import inspect
import secrets
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regente_agent import catalogue as mine
from regente_agent import reply, wire
from regente_agent.drivers import elements
from regente_agent.scrub import Scrubber
from shared.contracts import topology
from shared.contracts.catalogue import MODULES, Instruction, Parameter
from shared.contracts.catalogue import catalogue as all_instructions
from shared.contracts.envelope import MESSAGE_SIZE_BYTES_MAX, Message, decode, encode
from shared.contracts.messages.worker_abort import WorkerAbort
from shared.contracts.messages.worker_heartbeat import WorkerHeartbeat
from shared.contracts.messages.worker_instruction import BlobTarget, WorkerInstruction
from shared.contracts.messages.worker_log import WorkerLog
from shared.contracts.messages.worker_reply import FailureContext, WorkerReply
from shared.contracts.messages.worker_run_ended import WorkerRunEnded
from shared.contracts.workflow_file import ROLE_PATTERN, SELECTOR_CHARS_MAX, SELECTOR_KINDS

WORKER = "02aabbccddee"


def catalogue() -> dict[str, Instruction]:
    """What a robot does of it."""
    return {name: one for name, one in all_instructions().items() if one.place == "robot"}


FORMS = {"Object": "Target", "Secret": "Certificate", "str | Secret": "str", "list[str]": "List[str]", "float": "float"}
"""The stubs' types and the agent's: a secret travels as its value."""


def bytes_of(message: Message) -> bytes:
    return encode(message, id=secrets.token_hex(16), sent_at=datetime.now(UTC), sender="executor-1")


def test_every_instruction_of_the_catalogue_is_implemented_and_none_more() -> None:
    assert set(mine.instructions()) == set(catalogue())
    assert set(mine.DRIVERS) == set(MODULES)


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_an_instruction_has_the_same_arguments_and_effect(name: str) -> None:
    theirs = catalogue()[name]
    method = mine.instructions()[name]
    assert mine.effect_of(name) == theirs.effect
    parameters = list(inspect.signature(method).parameters.values())[1:]
    assert [parameter_of(p) for p in parameters] == [
        Parameter(p.name, form(p.annotation), p.required, p.keyword_only) for p in theirs.parameters
    ]


def form(annotation: str) -> str:
    plain = annotation.removesuffix(" | None")
    translated = FORMS.get(plain, plain)
    return f"Optional[{translated}]" if plain != annotation else translated


def parameter_of(p: inspect.Parameter) -> Parameter:
    return Parameter(
        p.name, str(p.annotation), p.default is inspect.Parameter.empty, p.kind is inspect.Parameter.KEYWORD_ONLY
    )


def test_queues_keys_and_limits_are_the_same() -> None:
    assert wire.EXCHANGE == topology.WORKERS
    assert wire.instructions_queue(WORKER) == topology.instructions_queue(WORKER).name
    assert wire.control_queue(WORKER) == topology.control_queue(WORKER).name
    assert wire.reply_key(WORKER, "executor-1") == topology.reply_key(WORKER, "executor-1")
    assert wire.MESSAGE_BYTES_MAX == MESSAGE_SIZE_BYTES_MAX
    patterns = [
        b.routing_key for queue in topology.SERVICE_QUEUES for b in queue.bindings if b.exchange == wire.EXCHANGE
    ]
    assert sorted(patterns) == ["heartbeat.*", "log.*"]
    assert (wire.heartbeat_key("*"), wire.log_key("*")) == ("heartbeat.*", "log.*")


instructions = st.builds(
    WorkerInstruction,
    worker=st.just(WORKER),
    run=st.from_regex(r"run_[0-9a-f]{4}", fullmatch=True),
    seq=st.integers(1, 10**9),
    epoch=st.integers(1, 10**6),
    task=st.none() | st.just("task_1"),
    name=st.sampled_from(sorted(catalogue())),
    args=st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.text(max_size=20), max_size=3),
    timeout_s=st.floats(0.1, 3600),
    line=st.none() | st.integers(1, 1000),
    reply_to=st.just("executor-1"),
    blobs=st.none() | st.just(BlobTarget(url="http://127.0.0.1:8003", token="t")),
)


@given(instructions)
def test_what_the_executor_sends_is_read_as_it_was_meant(message: WorkerInstruction) -> None:
    read = wire.parse_instruction(bytes_of(message), WORKER)
    for name in ("run", "seq", "epoch", "task", "phase", "name", "args", "effect", "commit", "line", "reply_to"):
        assert getattr(read, name) == getattr(message, name)
    assert read.timeout_s == pytest.approx(message.timeout_s)
    assert read.blobs == (None if message.blobs is None else (message.blobs.url, message.blobs.token))


@given(st.binary(max_size=60) | instructions.map(bytes_of).map(lambda data: data[:-7]))
def test_bytes_that_are_no_message_are_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.parse_instruction(data, WORKER)


@given(
    instructions,
    st.sampled_from(sorted(WorkerInstruction.model_fields)),
    st.sampled_from([None, [], {}, -1, "", "x y"]),
)
def test_a_wrong_field_is_malformed_or_allowed_but_never_a_crash(
    message: WorkerInstruction, name: str, value: object
) -> None:
    body = {**message.model_dump(mode="json"), name: value}
    data = wire.encode(wire.INSTRUCTION, body, "executor-1")
    known: dict[str, object] = {}
    try:
        wire.parse_instruction(data, WORKER)
    except wire.Malformed as error:
        known = error.known
    assert set(known) <= {"run", "seq", "epoch", "reply_to"} - {name}


def test_control_messages_are_read() -> None:
    abort = wire.parse_control(bytes_of(WorkerAbort(worker=WORKER, run="run_1", epoch=2, reason="so")), WORKER)
    assert abort == wire.Abort("run_1", 2, "so")
    ended = wire.parse_control(bytes_of(WorkerRunEnded(worker=WORKER, run="run_1", epoch=2)), WORKER)
    assert ended == wire.RunEnded("run_1", 2)
    with pytest.raises(wire.Malformed):
        wire.parse_control(bytes_of(WorkerRunEnded(worker="020000000000", run="run_1", epoch=2)), WORKER)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=9), st.lists, max_leaves=4),
    st.text(max_size=9),
)
def test_every_outcome_fits_in_a_reply_that_the_server_reads(value: object, text: str) -> None:
    for outcome in ({"outcome": "done", "value": value}, reply.failure("in_doubt", "TIMEOUT", text, lost=True)):
        origin = {"worker": WORKER, "session": "s", "journal": {"id": "j", "counter": 3}}
        body = reply.body(reply.limited(outcome), "run_1", 4, 5, origin, repeated=True, lost=False)
        message = decode(wire.encode(wire.REPLY, body, WORKER))[1]
        assert isinstance(message, WorkerReply)
        assert (message.run, message.seq, message.epoch, message.outcome.value) == ("run_1", 4, 5, outcome["outcome"])


def test_selectors_that_may_be_published_are_those_that_the_robot_reads() -> None:
    assert set(elements._BY) == set(SELECTOR_KINDS)
    assert elements._ROLE.pattern == ROLE_PATTERN.pattern
    assert mine.SELECTOR_MAX == SELECTOR_CHARS_MAX


texts = st.text(max_size=700)
frames = st.fixed_dictionaries(
    {
        "pages": st.lists(st.fixed_dictionaries({"url": texts, "title": texts, "active": st.booleans()}), max_size=23),
        "dialogs": st.lists(st.fixed_dictionaries({"type": texts, "message": texts, "answer": texts}), max_size=23),
        "windows": st.lists(
            st.fixed_dictionaries({"title": texts, "process": texts, "active": st.booleans()}), max_size=3
        ),
        "notes": st.lists(texts, max_size=23),
    }
)


@given(frames, st.text(min_size=4, max_size=20), st.none() | st.integers(0, 9))
def test_what_a_driver_saw_fits_in_a_reply_and_holds_nothing_that_was_typed(
    seen: dict[str, list[Any]], typed: str, matched: int | None
) -> None:
    scrubber = Scrubber()
    scrubber.remember({"text": typed})
    seen["pages"].append({"url": f"https://portal/{quote(typed, safe='')}", "title": f"For {typed}", "active": True})
    outcome = {"outcome": "in_doubt", "error": {"code": "TIMEOUT", "message": "m"}, "desktop": "lost"}
    outcome.update(reply.sight({"context": seen, "matched": matched, "evidence": []}, scrubber))
    origin = {"worker": WORKER, "session": "s", "journal": {"id": "j", "counter": 3}}
    body = reply.body(reply.limited(outcome), "run_1", 4, 5, origin, repeated=False, lost=True)
    message = decode(wire.encode(wire.REPLY, body, WORKER))[1]
    assert isinstance(message, WorkerReply)
    assert isinstance(message.context, FailureContext)
    assert message.matched == matched
    told = [page.title for page in message.context.pages if page.title.startswith("For ")]
    assert all(typed not in title for title in told) or typed in "For ***"


def test_ids_grow_with_time_and_are_uuids_of_version_7() -> None:
    found = [uuid.UUID(wire.uuid7()) for _ in range(50)]
    assert {(one.version, one.variant) for one in found} == {(7, uuid.RFC_4122)}
    stamps = [one.int >> 80 for one in found]
    assert stamps == sorted(stamps)


def test_heartbeats_and_logs_have_all_their_fields() -> None:
    beat = {
        "worker": WORKER, "session": "s", "journal": {"id": "j", "counter": 1}, "beat": 1, "driver": "ready",
        "run": None, "seq": None, "epoch": 0, "busy_s": 0.0, "agent_version": "1", "logs_waiting": 0,
    }  # fmt: skip
    assert set(beat) == set(WorkerHeartbeat.model_fields)
    assert isinstance(decode(wire.encode(wire.HEARTBEAT, beat, WORKER))[1], WorkerHeartbeat)
    line = {
        "n": 1,
        "at": wire.utc_now(),
        "level": "info",
        "event": "e",
        "run": None,
        "task": None,
        "seq": None,
        "fields": {},
    }
    log = {"worker": WORKER, "journal": "j", "lines": [line]}
    assert isinstance(decode(wire.encode(wire.LOG, log, WORKER))[1], WorkerLog)


def test_the_agent_imports_nothing_of_the_server() -> None:
    allowed = {"regente_agent", "pika", "playwright", "mss", "cryptography"}
    for file in Path(mine.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in allowed or top in sys.stdlib_module_names, f"{file.name} imports {name}"
                assert top != "pika" or file.name == "amqp.py"
                assert top != "cryptography" or file.name == "sealed.py"
