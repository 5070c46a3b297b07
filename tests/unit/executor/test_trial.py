"""A run that was against new files: what is refused, what is played from where, and what is said about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.executor.core.plays import Asked, Ended, Play, Unplayable, plays_of
from services.executor.core.trial import (
    PHASES_SHOWN_MAX,
    SHOWN_CHARS_MAX,
    TIMES_MORE_MAX,
    Finding,
    Verdict,
    Walk,
    elsewhere,
    objects_changed,
    refusal,
    report,
    shown,
)
from services.executor.interpreter import Interpreter, Limits
from services.executor.trial import Past, Trial, Tried
from shared.contracts.catalogue import CATALOGUE

START = datetime(2026, 1, 1, tzinfo=UTC)
ONLY = [{"name": "only", "when": [], "group_by": [], "script": "a.py"}]


class Rows:
    """A journal, entry by entry."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._reply: dict[str, Any] | None = None
        self._place: dict[str, Any] = {}

    def add(self, kind: str, **fields: Any) -> Rows:
        at = START + timedelta(seconds=len(self.rows))
        head = {"schema_version": 1, "seq": len(self.rows) + 1, "kind": kind, "at": at, "answers": []}
        self.rows.append({**head, **self._place, "reply": self._reply, **fields})
        self._reply = None
        return self

    def begin(self, phase: str, task: str | None = None) -> Rows:
        self._place = {"phase": phase, "task": task, "attempt": 1 if task else None}
        return self.add("phase")

    def asks(self, name: str, value: Any = None, *, outcome: str = "done", **args: Any) -> Rows:
        stored = {"name": name, "args": args, "commit": False, "line": 7, "function": "execute"}
        self.add("instruction", instruction=stored)
        error = None if outcome == "done" else {"code": "NOT_FOUND", "message": "gone"}
        self._reply = {"seq": len(self.rows), "outcome": outcome, "value": value, "error": error}
        return self

    def ends(self, output: Any = None, **error: Any) -> Rows:
        state = "failed" if error else "succeeded"
        shown_error = {"kind": "system", "message": "", "line": 3, "traceback": [{}], **error} if error else None
        return self.add("outcome", outcome={"state": state, "output": output, "error": shown_error})


def whole() -> list[dict[str, Any]]:
    """Setup, two tasks, teardown."""
    rows = Rows().begin("setup").asks("browser.open", url="https://a").ends()
    for task in ("t1", "t2"):
        rows.begin("task", task).asks("browser.text", "x", target={"$object": "go"}).ends({"text": "x"})
    return rows.begin("teardown").asks("browser.close").ends().rows


SCRIPT = """
from robot import browser
from regente import objects
made = []

def setup(group: dict[str, str]) -> None:
    browser.open("https://a")
    made.append("1")

def execute(task: dict[str, str]) -> dict[str, str]:
    return {"text": browser.text(objects.go)}

def teardown(group: dict[str, str]) -> None:
    browser.close()
"""


@pytest.fixture
async def interpreter() -> AsyncIterator[Interpreter]:
    async with Interpreter(processes_max=1, limits=Limits(turn_s=1.0)) as started:
        yield started


async def tried(interpreter: Interpreter, rows: list[dict[str, Any]], script: str, **more: Any) -> Tried:
    """What the script would have done."""
    inputs = more.pop("inputs", {"t1": {"n": 1}, "t2": {"n": 2}})
    time_s = more.pop("time_s", 20.0)
    version = {
        "files": {"a.py": script}, "objects": {"go": {"selectors": ["css=#go"]}}, "input": {}, "scenarios": ONLY,
        "timeouts": {"instruction_s": 5.0}, **more,
    }  # fmt: skip
    past = Past({"scenario": "only", "seed": 1, "group": {}}, plays_of(rows), inputs)
    return await Trial(interpreter, past, version, time_s=time_s).run()


def verdicts(found: Tried) -> list[str]:
    return [one.verdict.value for _, one in found]


async def test_the_same_script_does_the_same(interpreter: Interpreter) -> None:
    found = await tried(interpreter, whole(), SCRIPT)
    assert verdicts(found) == ["same"] * 4
    assert [one.instructions for _, one in found] == [1, 1, 1, 1]


async def test_tasks_begin_from_what_the_new_setup_leaves(interpreter: Interpreter) -> None:
    """Setup ends earlier than it did, so the state is known, and it is the new one."""
    changed = SCRIPT.replace('    browser.open("https://a")\n', "").replace('"text": ', '"text": made[0] and ')
    found = await tried(interpreter, whole(), changed)
    assert verdicts(found) == ["ends_otherwise", "same", "same", "same"]
    lost = changed.replace('    made.append("1")\n', "    pass\n")
    found = await tried(interpreter, whole(), lost)
    assert verdicts(found) == ["ends_otherwise"] * 3 + ["same"], "made is empty: execute fails before it asks"


async def test_behind_a_setup_that_asks_for_something_else_nothing_is_guessed(interpreter: Interpreter) -> None:
    found = await tried(interpreter, whole(), SCRIPT.replace("https://a", "https://b"))
    assert verdicts(found) == ["differs", "unknown", "unknown", "unknown"]
    assert "nobody knows" in found[1][1].note


async def test_behind_a_setup_that_fails_only_teardown_is_tried(interpreter: Interpreter) -> None:
    found = await tried(interpreter, whole(), SCRIPT.replace('made.append("1")', "raise ValueError('no')"))
    assert verdicts(found) == ["ends_otherwise", "unknown", "unknown", "same"]
    now = found[0][1].now
    assert isinstance(now, Ended)
    assert (now.code, now.line) == ("SCRIPT_ERROR", 8)


async def test_a_script_that_does_not_load_says_so(interpreter: Interpreter) -> None:
    found = await tried(interpreter, whole(), SCRIPT.replace("made = []", "made = 1 / 0"))
    now = found[0][1].now
    assert isinstance(now, Ended)
    assert "ZeroDivisionError" in now.message


@pytest.mark.parametrize(
    ("more", "verdict", "text"),
    [
        ({"input": {"properties": {"n": {"const": 1}}}}, "ends_otherwise", "does not fit"),
        ({"scenarios": [{**ONLY[0], "when": [{"field": "n", "op": "eq", "value": 1}]}]}, "ends_otherwise", "no scen"),
        ({"inputs": {"t1": {"n": 1}}}, "unknown", "gone"),
    ],
)
async def test_a_task_that_would_not_begin_is_told_apart(
    interpreter: Interpreter, more: dict[str, Any], verdict: str, text: str
) -> None:
    found = await tried(interpreter, whole(), SCRIPT, **more)
    assert verdicts(found) == ["same", "same", verdict, "same"]
    finding = found[2][1]
    assert text in (finding.now.message if isinstance(finding.now, Ended) else finding.note)


async def test_what_there_was_no_time_for_is_unknown(interpreter: Interpreter) -> None:
    endless = SCRIPT.replace('    return {"text"', '    while True:\n        browser.exists("")\n    return {"text"')
    endless = endless.replace('browser.exists("")', "objects.go")
    rows = whole()
    found = await tried(interpreter, rows, endless, time_s=0.5)
    assert verdicts(found) == ["same", "unknown", "unknown", "unknown"]
    assert "were over" in found[1][1].note
    found = await tried(interpreter, rows, SCRIPT, time_s=0.0)
    assert verdicts(found) == ["unknown"] * 4


async def test_a_script_that_waits_for_the_time_to_pass_is_not_waited_for(interpreter: Interpreter) -> None:
    waits = "    import time\n    began = time.time()\n    while time.time() < began + 1:\n        time.sleep(0.1)\n"
    found = await tried(interpreter, whole(), SCRIPT.replace('    return {"text"', waits + '    return {"text"'))
    assert verdicts(found) == ["same", "unknown", "unknown", "same"]
    assert "time to pass" in found[1][1].note


async def test_arguments_that_are_no_json_are_refused_as_they_were(interpreter: Interpreter) -> None:
    """They ended a replay with an error of its own once, because only then were they looked at."""
    odd = '    try:\n        browser.fill(objects.go, {1, 2})\n    except ValueError:\n        pass\n    return {"text"'
    found = await tried(interpreter, whole(), SCRIPT.replace('    return {"text"', odd))
    assert verdicts(found) == ["same"] * 4


# the journal as plays


def test_another_setup_stands_in_the_middle_of_a_task() -> None:
    rows = Rows().begin("setup").asks("browser.open").ends().begin("task", "t1").asks("regente.decide", "left")
    reply, rows._reply = rows._reply, None
    rows.add("takeover", phase=None, task=None).begin("setup").asks("browser.open").ends()
    rows._place, rows._reply = {"phase": "task", "task": "t1", "attempt": 1}, reply
    plays = plays_of(rows.asks("browser.text", "x").ends({"a": 1}).rows)
    assert [(one.phase.value, len(one.asked)) for one in plays] == [("setup", 1), ("task", 2), ("setup", 1)]
    assert sorted(plays[1].answers) == [one.seq for one in plays[1].asked]
    assert plays[1].ended == Ended("returned", output={"a": 1})


@pytest.mark.parametrize("code", ["ABORTED", "ROBOT_LOST", "IN_DOUBT", "CANCELLED", "TASK_TIMEOUT"])
def test_an_end_from_outside_is_none_of_the_scripts(code: str) -> None:
    (play,) = plays_of(Rows().begin("task", "t").asks("browser.text").ends(code=code).rows)
    assert play.ended is None
    finding = Walk(play).meet(Asked("browser.text", {}, False, 9))
    assert isinstance(finding, Finding)
    assert (finding.verdict, finding.instructions) == (Verdict.SAME, 1)


def test_entries_that_cannot_be_played_are_refused() -> None:
    with pytest.raises(Unplayable, match="schema None"):
        plays_of([{"seq": 1, "kind": "phase"}])
    rows = whole()
    with pytest.raises(Unplayable, match="beginning is not in the journal"):
        plays_of(rows[1:])
    del rows[1]["answers"]
    with pytest.raises(Unplayable, match="too old"):
        plays_of(rows)


def test_a_limit_of_the_interpreter_is_the_scripts_end_whatever_it_says() -> None:
    (play,) = plays_of(Rows().begin("task", "t").ends(code="SCRIPT_LIMIT", message="5.1 s", line=None).rows)
    assert play.ended is not None
    assert Walk(play).end(Ended("system", "SCRIPT_LIMIT", "5.2 s")).verdict is Verdict.SAME
    counted = Rows().begin("task", "t").ends(code="SCRIPT_LIMIT", message="more than 3", line=4, traceback=[]).rows
    assert plays_of(counted)[0].ended is None


def test_time_stands_still_where_the_journal_knows_none() -> None:
    rows = Rows().begin("task", "t").asks("browser.text").ends({}).rows
    rows[1]["answers"] = [START + timedelta(seconds=9)]
    (play,) = plays_of(rows)
    walk = Walk(play)
    assert {walk.time() for _ in range(TIMES_MORE_MAX)} == {START + timedelta(seconds=9)}
    assert walk.time() is not None
    assert walk.time() is None


# what is refused


def refused(**change: Any) -> str | None:
    run = {"account": "acme", "workflow": "tax", "state": "finished", "last_seq": 9, "version": "v", "scenario": "only"}
    version: dict[str, Any] | None = {"catalogue": CATALOGUE}
    arguments: dict[str, Any] = {"account": "acme", "workflow": "tax", "scenarios": ONLY, "last_seq": 9}
    arguments.update({key: change.pop(key) for key in list(change) if key in arguments})
    version = change.pop("ran", version)
    return refusal({**run, **change}, version, **arguments)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"state": "executing"}, "has ended"),
        ({"workflow": "land"}, "acme/tax"),
        ({"account": "other"}, "other/tax"),
        ({"last_seq": 0}, "gone"),
        ({"last_seq": 8}, "not whole"),
        ({"ran": None}, "version v is gone"),
        ({"ran": {"catalogue": CATALOGUE + 1}}, "catalogue"),
        ({"scenarios": [{**ONLY[0], "name": "other"}]}, "no scenario only"),
    ],
)
def test_what_can_not_be_tried_is_refused_with_the_reason(change: dict[str, Any], text: str) -> None:
    assert refused() is None
    assert text in (refused(**change) or "")


# what is said


def test_another_scenario_that_takes_the_task_is_named() -> None:
    scenarios = [{"name": "new", "when": [{"field": "n", "op": "eq", "value": 1}]}, {"name": "only", "when": []}]
    taken = elsewhere("only", scenarios, {"n": 1})
    assert taken is not None
    assert "scenario new takes it" in taken.message
    assert elsewhere("only", scenarios, {"n": 2}) is None


def test_other_selectors_are_told_for_what_was_used() -> None:
    plays = plays_of(whole())
    then, now = {"go": {"selectors": ["css=#a"]}, "x": {"selectors": []}}, {"go": {"selectors": ["css=#b"]}, "x": {}}
    assert objects_changed(plays, then, now) == [{"name": "go", "then": ["css=#a"], "now": ["css=#b"]}]
    assert objects_changed(plays, then, then) == []


def test_what_is_shown_is_short_and_can_be_sent() -> None:
    assert shown({"a": [1, "x"]}) == {"a": [1, "x"]}
    assert len(shown("x" * 9000)) < SHOWN_CHARS_MAX + 10
    shown("\ud800").encode()


def test_a_long_report_lists_what_differs_first() -> None:
    plays = [Play(one.phase, one.task, 1, n, START) for n, one in enumerate(plays_of(whole()) * 200)]
    findings = [Finding(Verdict.DIFFERS if n > 790 else Verdict.SAME) for n in range(len(plays))]
    run = {"_id": "run_1", "account": "a", "workflow": "w", "version": "v", "scenario": "only"}
    said = report(run, list(zip(plays, findings, strict=True)), [])
    assert (said["same"], said["counts"]["differs"], said["counts"]["same"]) == (False, 9, 791)
    assert (len(said["phases"]), said["left_out"]) == (PHASES_SHOWN_MAX, 300)
    assert [one["verdict"] for one in said["phases"]].count("differs") == 9
    assert [one["begun"] for one in said["phases"]] == sorted(one["begun"] for one in said["phases"])
