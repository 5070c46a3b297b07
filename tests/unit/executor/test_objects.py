"""Objects on their way to the robot and back, and what is kept with a failure."""

from __future__ import annotations

from typing import Any

import pytest

from services.executor.core.args import resolve
from services.executor.core.failing import failure
from services.executor.core.matching import Use, use_of
from shared.contracts.catalogue import BadCall
from shared.script.modules import object_handle

OBJECTS: dict[str, Any] = {
    "go": {"selectors": ["css=#go", "text=Go"], "title": "", "environments": {"staging": {"selectors": ["css=#go-2"]}}},
    "old": {"selectors": ["css=#old"], "title": ""},
}


def test_selectors_are_those_of_the_runs_environment() -> None:
    args = {"target": object_handle("go"), "text": "x"}
    plain = {"target": {"$object": "go", "selectors": ["css=#go", "text=Go"]}, "text": "x"}
    assert resolve(args, OBJECTS, {}) == plain
    assert resolve(args, OBJECTS, {}, environment="nowhere") == plain
    assert resolve(args, OBJECTS, {}, environment="staging")["target"]["selectors"] == ["css=#go-2"]
    assert resolve({"target": object_handle("old")}, OBJECTS, {}, environment="staging")["target"]["selectors"] == [
        "css=#old"
    ]
    with pytest.raises(BadCall, match="nothing"):
        resolve({"target": object_handle("nothing")}, OBJECTS, {}, environment="staging")


@pytest.mark.parametrize(
    ("outcome", "code", "matched", "use"),
    [
        ("done", None, 1, Use("go", ("css=#go", "text=Go"), 1)),
        ("error", "TIMEOUT", 0, Use("go", ("css=#go", "text=Go"), 0)),
        ("error", "TIMEOUT", None, Use("go", ("css=#go", "text=Go"), None)),
        ("done", None, None, None),
        ("error", "DRIVER_FAILED", None, None),
        ("in_doubt", "TIMEOUT", None, None),
        ("refused", "BUSY", None, None),
        ("done", None, 7, None),
    ],
)
def test_what_a_reply_says_about_its_object(
    outcome: str, code: str | None, matched: int | None, use: Use | None
) -> None:
    instruction = {"name": "browser.click", "args": {"target": object_handle("go")}}
    assert use_of(instruction, OBJECTS, None, outcome=outcome, code=code, matched=matched) == use
    assert use_of({"args": {"url": "x"}}, OBJECTS, None, outcome=outcome, code=code, matched=matched) is None


def asked(seq: int, name: str = "browser.click", **fields: Any) -> dict[str, Any]:
    instruction = {"name": name, "line": seq * 10, "script": "a.py", "function": "execute"}
    return {"kind": "instruction", "seq": seq, "instruction": instruction, "reply": None, **fields}


def reply(seq: int, outcome: str = "done", code: str = "", message: str = "m", **fields: Any) -> dict[str, Any]:
    error = {"code": code, "message": message} if code else None
    return {"seq": seq, "outcome": outcome, "error": error, "evidence": [], **fields}


def test_the_instruction_whose_error_ended_the_script_is_the_one_that_failed() -> None:
    pictures = [{"id": "ev_1", "name": "failure"}]
    broken = reply(2, "error", "TIMEOUT", "go did not appear", context={"pages": []}, evidence=pictures)
    entries = [asked(2), asked(3, "screen.evidence", reply=broken)]
    error = {"code": "SCRIPT_ERROR", "message": "TimeoutError: TIMEOUT: go did not appear", "recent": []}
    found = failure(error, entries, reply(3))
    assert found == {
        **error,
        "failed": {
            "seq": 2, "name": "browser.click", "script": "a.py", "function": "execute", "line": 20,
            "outcome": "error", "code": "TIMEOUT", "picture": "ev_1",
        },
        "context": {"pages": []},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("last", "seq"),
    [(reply(2, "in_doubt", "TIMEOUT"), 2), (None, 2), (reply(2, "error", "NOT_FOUND"), 2), (reply(2), None)],
)
def test_else_the_last_one_if_it_was_not_done(last: dict[str, Any] | None, seq: int | None) -> None:
    entries = [asked(1), asked(2, reply=reply(1, "error", "TIMEOUT", "caught"))]
    found = failure({"code": "IN_DOUBT", "message": "words of the script"}, entries, last)
    assert (found["failed"] or {}).get("seq") == seq


def test_a_script_that_asked_for_nothing_has_nobody_to_blame() -> None:
    assert failure({"code": "SCRIPT_ERROR", "message": "KeyError: 'a'"}, [], None)["failed"] is None
