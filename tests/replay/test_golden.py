"""Journals of runs that were are replayed for ever: today's interpreter and executor still act as they did.

And they can fail: a script that was changed anywhere is reported at that line."""

from __future__ import annotations

import ast
import json

import pytest

from services.console.api.replays import ReplayReport
from services.executor.core.plays import Asked
from services.executor.core.trial import Verdict, report
from services.executor.interpreter import Interpreter
from tests.replay import goldens
from tests.replay.scenes import SCENES

NAMES = goldens.names()


def test_every_scene_has_a_golden() -> None:
    assert set(SCENES) <= set(NAMES), "python -m tests.replay.make"


@pytest.mark.parametrize("name", NAMES)
async def test_a_golden_is_replayed_as_it_was(interpreter: Interpreter, name: str) -> None:
    golden = goldens.read(name)
    found = await golden.tried(interpreter)
    assert [(play.phase, play.seq, one) for play, one in found if one.verdict is not Verdict.SAME] == []
    assert sum(one.instructions for _, one in found) == len(golden.instructions)


@pytest.mark.parametrize("name", NAMES)
async def test_a_changed_line_is_reported_there(interpreter: Interpreter, name: str) -> None:
    """Another instruction before any line that asked for one: the first entry that this line made differs."""
    golden = goldens.read(name)
    lines = sorted({one["instruction"]["line"] for one in golden.instructions})
    assert lines
    for line in lines:
        first = next(one for one in golden.instructions if one["instruction"]["line"] == line)
        changed = golden.with_script(_with_another(golden.script, line))
        found = await golden.tried(interpreter, changed)
        play, differs = next((play, one) for play, one in found if one.verdict is not Verdict.SAME)
        assert (differs.verdict, differs.seq) == (Verdict.DIFFERS, first["seq"]), (line, differs)
        assert (play.phase, play.task) == (first["phase"], first["task"])
        assert isinstance(differs.then, Asked)
        assert isinstance(differs.now, Asked)
        assert (differs.then.name, differs.then.line) == (first["instruction"]["name"], line)
        assert (differs.now.name, differs.now.line) == ("browser.url", line)


@pytest.mark.parametrize("name", NAMES)
async def test_another_seed_is_noticed_where_the_script_throws_dice(interpreter: Interpreter, name: str) -> None:
    golden = goldens.read(name)
    other = goldens.Golden(golden.version, {**golden.run, "seed": 99}, golden.tasks, golden.steps)
    differs = any(one.verdict is not Verdict.SAME for _, one in await other.tried(interpreter))
    assert differs is ("random." in golden.script.replace("import random", ""))


@pytest.mark.parametrize("name", NAMES)
async def test_what_executors_report_is_what_the_console_shows(interpreter: Interpreter, name: str) -> None:
    golden = goldens.read(name)
    changed = golden.with_script(_with_another(golden.script, golden.instructions[-1]["instruction"]["line"]))
    said = json.loads(json.dumps(report(golden.run, await golden.tried(interpreter, changed), [])))
    viewed = ReplayReport.of(said).model_dump(exclude_unset=True)
    assert viewed == said, "a field is lost on the way"
    assert viewed["same"] is False


def _with_another(script: str, line: int) -> str:
    """The script with `browser.url()` before the statement at a line."""
    lines = script.split("\n")
    statements = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.stmt) and node.lineno <= line]
    at = max(statements, key=lambda node: node.lineno)
    lines.insert(at.lineno - 1, " " * at.col_offset + "browser.url()")
    return "\n".join(lines)
