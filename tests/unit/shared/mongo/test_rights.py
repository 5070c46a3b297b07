"""The tables of rights against the services' own code: what a service is seen to write and send, its user may."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.contracts.rights import SERVICES, broker_rights, own_queues
from shared.contracts.topology import HANDOFFS, SERVICE_QUEUES
from shared.mongo.indexes import COLLECTIONS
from shared.mongo.rights import BUCKETS, makes, writes

ROOT = Path(__file__).resolve().parents[4]
METHODS = {
    "insert_one": "i", "insert_many": "i", "update_one": "u", "update_many": "u", "replace_one": "u",
    "find_one_and_update": "u", "delete_one": "d", "delete_many": "d",
}  # fmt: skip
HELPERS = {"insert_once": "i", "insert_new": "i", "guarded_update": "u"}
HINT = re.compile(r"(task|run|decision)\.(accepted|opened|finished|returned|asked)")
SENDERS = {"hint", "_hint", "_send", "send"}
WRITES_SEEN_MIN, HINTS_SEEN_MIN = 100, 8
"""Fewer than these, and the search itself no longer finds what it should."""


def _calls(service: str) -> Iterator[tuple[str, ast.Call]]:
    for path in sorted((ROOT / "services" / service).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def _collection(node: ast.expr) -> str | None:
    """The collection, where it is written out: mongo["tasks"]."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("mongo"):
        return str(node.slice.value) if isinstance(node.slice, ast.Constant) else None
    return None


def _upserts(call: ast.Call) -> bool:
    return any(one.arg == "upsert" and getattr(one.value, "value", False) is True for one in call.keywords)


def _written(call: ast.Call) -> tuple[str, str] | None:
    """Collection and letters of what a call writes."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
        name, letters = _collection(call.func.value), METHODS[call.func.attr] + ("i" if _upserts(call) else "")
    elif isinstance(call.func, ast.Name) and call.func.id in HELPERS and call.args:
        name, letters = _collection(call.args[0]), HELPERS[call.func.id]
    else:
        return None
    return (name, letters) if name else None


def test_what_a_service_writes_its_user_may_write() -> None:
    seen, missing = 0, []
    for service in SERVICES:
        may = writes(service)
        for where, call in _calls(service):
            if (found := _written(call)) is not None:
                seen += 1
                missing += [f"{where}: {found}"] if set(found[1]) - set(may.get(found[0], "")) else []
    assert not missing
    assert seen >= WRITES_SEEN_MIN


def test_what_a_service_sends_its_user_may_send() -> None:
    seen = 0
    for service in SERVICES:
        may = {exchange: write for exchange, write, _ in broker_rights(service).topics}[HANDOFFS]
        for where, call in _calls(service):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            for one in call.args if name in SENDERS else ():
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and HINT.fullmatch(one.value):
                    seen += 1
                    assert re.search(may, one.value), f"{where}: {one.value}"
    assert seen >= HINTS_SEEN_MIN


def test_every_collection_is_made_by_somebody_and_no_other_is_named() -> None:
    assert {name for service in SERVICES for name in makes(service)} >= set(COLLECTIONS)
    assert {name for service in SERVICES for name in writes(service)} <= {*COLLECTIONS, *BUCKETS}


def test_every_common_queue_has_one_reader() -> None:
    assert {queue.reader for queue in SERVICE_QUEUES} <= set(SERVICES)
    owned = [queue.name for service in SERVICES for queue in own_queues(service)]
    assert len(owned) == len(set(owned))


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_changes_or_removes_a_line_of_the_audit(service: str) -> None:
    assert writes(service)["audit"] == "i"


def test_a_service_that_there_is_not_has_no_rights() -> None:
    with pytest.raises(KeyError):
        broker_rights("nobody")
    with pytest.raises(KeyError):
        writes("nobody")
