"""For any journal and any new script the report's first difference is where the obvious comparison says it is.

A script is made from a list of lines that each ask for something; its journal is made from the same list by a model
that knows neither the executor nor the interpreter. The new script is the list with some lines changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.executor.core.plays import Asked, Ended, plays_of
from services.executor.core.trial import Finding, Verdict
from services.executor.interpreter import Interpreter
from services.executor.trial import Past, Trial

HEAD = "from robot import browser\nfrom regente import business_error, objects\nimport time\n\n"
HEAD += "def execute(task: dict[str, str]) -> dict[str, str]:\n    last = ''\n"
LINES = {
    "click": ("    browser.click(objects.go)", "browser.click", {"target": {"$object": "go"}}, False),
    "pay": ("    browser.click(objects.go, commit=True)", "browser.click", {"target": {"$object": "go"}}, True),
    "read": ("    last = browser.text(objects.go)", "browser.text", {"target": {"$object": "go"}}, False),
    "say": ("    browser.fill(objects.go, last)", "browser.fill", {"target": {"$object": "go"}, "text": None}, False),
    "now": ("    last = str(int(time.time()))", None, {}, False),
    "quit": ("    business_error('no ' + last)", None, {}, False),
}
START = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = 9
names = st.lists(st.sampled_from([*sorted(LINES), "now", "now", "say", "say", "click", "read"]), max_size=LONGEST)
replies = st.lists(st.sampled_from([*"aaabbb", "NOT_FOUND"]), min_size=LONGEST, max_size=LONGEST)
changed = st.tuples(
    st.integers(0, LONGEST - 1), st.sampled_from(["drop", "insert", "replace"]), st.sampled_from(sorted(LINES))
)


def script(lines: list[str]) -> str:
    return HEAD + "\n".join(LINES[name][0] for name in lines) + "\n    return {'last': last}\n"


def at_the_time(span: int, nth: int) -> datetime:
    """What the clock says when the script asks for the nth time after so many requests."""
    return START + timedelta(seconds=100 * span + nth)


def course(
    lines: list[str], told: list[str], clock: Callable[[int, int], datetime] = at_the_time
) -> tuple[list[Asked], Ended, list[list[datetime]]]:
    """What a script of these lines asks for, how it ends, and the times it is told. told: answer to the nth request."""
    asked: list[Asked] = []
    times: list[list[datetime]] = [[]]
    last = ""
    for n, name in enumerate(lines):
        _, instruction, args, commit = LINES[name]
        if name == "quit":
            return asked, Ended("business", "BUSINESS", f"no {last}"), times
        if name == "now":
            times[-1].append(clock(len(asked), len(times[-1])))
            last = str(int(times[-1][-1].timestamp()))
        if instruction is None:
            continue
        filled = {**args, "text": last} if name == "say" else args
        answer = told[len(asked)]
        asked.append(Asked(instruction, filled, commit, HEAD.count("\n") + 1 + n, "execute"))
        times.append([])
        if answer == "NOT_FOUND":
            return asked, Ended("system", "SCRIPT_ERROR", "LookupError: NOT_FOUND: gone"), times
        last = answer if name == "read" else last
    return asked, Ended("returned", output={"last": last}), times


def journal(lines: list[str], told: list[str], takeovers: list[bool]) -> list[dict[str, Any]]:
    """The entries that an executor writes for that, with some takeovers between them."""
    asked, ended, times = course(lines, told)
    rows: list[dict[str, Any]] = []

    def add(kind: str, **fields: Any) -> None:
        head = {
            "schema_version": 1,
            "seq": len(rows) + 1,
            "kind": kind,
            "at": START + timedelta(seconds=50 * len(rows)),
        }
        place = {"phase": "task", "task": "t", "attempt": 1} if kind != "takeover" else {}
        rows.append({**head, "phase": None, "task": None, "attempt": None, "answers": [], **place, **fields})

    add("phase")
    reply: dict[str, Any] | None = None
    for n, one in enumerate(asked):
        if takeovers[n]:
            add("takeover")
        shown = {"name": one.name, "args": one.args, "commit": one.commit, "line": one.line, "function": "execute"}
        add("instruction", instruction=shown, reply=reply, answers=times[n])
        done = told[n] != "NOT_FOUND"
        error = None if done else {"code": "NOT_FOUND", "message": "gone"}
        reply = {"seq": len(rows), "outcome": "done" if done else "error", "value": told[n], "error": error}
    error = None
    if ended.kind != "returned":
        error = {"kind": ended.kind, "code": ended.code, "message": ended.message, "line": 1, "traceback": [{}]}
    state = "succeeded" if error is None else "failed"
    outcome = {"state": state, "output": ended.output, "error": error}
    add("outcome", outcome=outcome, reply=reply, answers=times[-1])
    return rows


def obvious(
    then: list[str], now: list[str], told: list[str], clock: Callable[[int, int], datetime]
) -> tuple[Verdict, int | None, int]:
    """Verdict, entry and number of equal instructions: both courses side by side, up to the first that differs."""
    asked_then, end_then, _ = course(then, told)
    asked_now, end_now, _ = course(now, told, clock)
    for n, (one, other) in enumerate(zip(asked_then, asked_now, strict=False)):
        if (one.name, one.args, one.commit) != (other.name, other.args, other.commit):
            return Verdict.DIFFERS, n, n
    met = min(len(asked_then), len(asked_now))
    if len(asked_then) > met:
        return Verdict.ENDS_OTHERWISE, met, met
    same = len(asked_now) == met and (end_then.kind, end_then.message, end_then.output) == (
        end_now.kind, end_now.message, end_now.output
    )  # fmt: skip
    return (Verdict.SAME if same else Verdict.ENDS_OTHERWISE), (None if same else met), met


def clock_of(rows: list[dict[str, Any]]) -> Callable[[int, int], datetime]:
    """What a new script is told: what is stored for that place, else the latest that the journal knows of it."""
    spans = [row for row in rows if row["kind"] in ("instruction", "outcome")]

    def tell(span: int, nth: int) -> datetime:
        stored = spans[span]["answers"] if span < len(spans) else []
        if nth < len(stored):
            return stored[nth]
        passed = [rows[0]["at"], *(row["at"] for row in spans[:span])]
        return max([*passed, *(at for row in spans[: span + 1] for at in row["answers"])])

    return tell


async def found(interpreter: Interpreter, rows: list[dict[str, Any]], text: str) -> Finding:
    """What the trial says about the one phase."""
    version = {
        "files": {"a.py": text}, "objects": {"go": {"selectors": ["css=#go"]}}, "input": {},
        "scenarios": [{"name": "only", "when": [], "group_by": [], "script": "a.py"}],
        "timeouts": {"instruction_s": 5.0},
    }  # fmt: skip
    run = {"scenario": "only", "seed": 1, "group": {}}
    past = Past(run, plays_of(rows), {"t": {}})
    ((_, finding),) = await Trial(interpreter, past, version, time_s=60.0).run()
    return finding


@settings(max_examples=400, suppress_health_check=list(HealthCheck), database=None)
@given(then=names, changes=st.lists(changed, max_size=2), told=replies,
       takeovers=st.lists(st.booleans(), min_size=LONGEST, max_size=LONGEST))  # fmt: skip
async def test_the_first_difference_is_where_the_obvious_comparison_says(
    interpreter: Interpreter,
    then: list[str],
    changes: list[tuple[int, str, str]],
    told: list[str],
    takeovers: list[bool],
) -> None:
    now = list(then)
    for place, how, line in changes:
        if how != "insert":
            del now[place : place + 1]
        if how != "drop":
            now.insert(place, line)
    now = now[:LONGEST]
    rows = journal(then, told, takeovers)
    finding = await found(interpreter, rows, script(now))
    entries = [row["seq"] for row in rows if row["kind"] == "instruction"] + [rows[-1]["seq"]]
    clock = clock_of(rows)
    verdict, place_, met = obvious(then, now, told, clock)
    assert (finding.verdict, finding.instructions) == (verdict, met)
    assert finding.seq == (None if place_ is None else entries[place_])
    if verdict is Verdict.DIFFERS:
        assert place_ is not None
        ours, theirs = course(now, told, clock)[0][place_], course(then, told)[0][place_]
        assert isinstance(finding.now, Asked)
        assert isinstance(finding.then, Asked)
        assert (finding.now.line, finding.then.line) == (ours.line, theirs.line)
