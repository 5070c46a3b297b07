"""Each kind of message has a golden file; changes within a version may only add optional fields.

To add a kind: write its golden file. A golden file that exists is never changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import shared.contracts.messages  # noqa: F401 - registers every kind
from shared.contracts.catalogue import MODULES, SERVER_MODULES, catalogue
from shared.contracts.envelope import MalformedMessage, decode, encode, kinds
from shared.contracts.topology import SERVICE_QUEUES, service_queues, worker_permissions

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_kind_reads_its_golden_file(kind: str) -> None:
    text = (GOLDEN / f"{kind}.json").read_text(encoding="utf-8")
    envelope, body = decode(text.encode())
    golden: dict[str, Any] = json.loads(text)["body"]
    shown = body.model_dump(mode="json")
    assert envelope.kind == kind
    assert {key: shown[key] for key in golden} == golden, "a field of the golden file is read differently or not at all"


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_encoding_what_was_read_gives_the_same_body(kind: str) -> None:
    envelope, body = decode((GOLDEN / f"{kind}.json").read_bytes())
    again = encode(body, id=envelope.id, sent_at=envelope.sent_at, sender=envelope.sender)
    assert decode(again)[1] == body


def test_no_golden_file_is_left_without_its_kind() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(kinds())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"kind": 3}',
        b"\xff\xfe",
        b'{"kind":"regente.unknown.v1","id":"","sent_at":"2026-01-01T00:00:00Z","sender":"","body":{}}',
    ],
)
def test_what_is_no_message_says_why(data: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode(data)
    assert str(caught.value)


def test_every_service_queue_has_a_dead_letter_queue() -> None:
    names = {queue.name for queue in service_queues()}
    assert all(queue.dead in names for queue in SERVICE_QUEUES)


def test_a_robot_may_reach_only_its_own_queues() -> None:
    import re

    rights = worker_permissions("02005e000001")
    assert re.search(rights.read, "worker.02005e000001.instructions")
    assert not re.search(rights.read, "worker.02005e000002.instructions")
    assert not re.search(rights.configure, "anything")
    assert re.search(rights.topic_write, "reply.02005e000001.executor-1-ab")
    assert not re.search(rights.topic_write, "reply.02005e000002.executor-1-ab")


def test_every_instruction_says_what_it_does() -> None:
    assert {name.partition(".")[0] for name in catalogue()} == {*MODULES, *SERVER_MODULES}
    assert all(instruction.title and instruction.timeout_s > 0 for instruction in catalogue().values())
