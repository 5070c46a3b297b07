"""`regente workflow check DIR --replay RUN`: what a folder's scripts would have done otherwise in a run that was.

Called by: commands/workflow.py. Change also: services/console/api/replays.py, whose report is shown here.
"""

from __future__ import annotations

import json
import time
from typing import Any

from cli import output
from cli.client import Client
from cli.errors import Refused, Usage

ANSWER_TIMEOUT_S = 60.0
POLLS_MAX, POLL_S = 60, 2.0
COLUMNS = ("phase", "task", "verdict", "instructions", "entry", "then, and now")
TEXT_CHARS_MAX = 160
ENDS = {"returned": "returns", "business": "business error", "system": "fails", "not_begun": "does not begin"}


def replay(files: dict[str, str], run: str, account: str | None, *, as_json: bool) -> None:
    """Have a checked folder tried against a run, and show the report.

    Raises: Refused when it differs, or could not be tried.
    """
    with Client() as client:
        body = {"account": wanted_account(client, account), "files": files, "run": run}
        answer = client.call("POST", "workflows/replay", json=body, timeout=ANSWER_TIMEOUT_S)
        polls = 0
        while answer["report"] is None:
            polls += 1
            if polls > POLLS_MAX:
                raise Refused(f"no executor has answered; ask for {answer['command']} later: GET /api/v1/replays/..")
            time.sleep(POLL_S)
            answer = client.call("GET", f"replays/{answer['command']}")
    report = answer["report"]
    output.print_json(report) if as_json else _show(report)
    if not report["same"]:
        counts = report["counts"]
        otherwise = counts["differs"] + counts["ends_otherwise"]
        unknown = f"; {counts['unknown']} could not be tried" if counts["unknown"] else ""
        raise Refused(f"{otherwise} of {sum(counts.values())} phases would go otherwise{unknown}")


def wanted_account(client: Client, account: str | None) -> str:
    """The account that a command is about.

    Raises: Usage.
    """
    wanted = account or client.access.account
    if not wanted:
        raise Usage("which account? name it with --account or REGENTE_ACCOUNT")
    return wanted


def _show(report: dict[str, Any]) -> None:
    output.print_table(COLUMNS, [_row(one) for one in report["phases"]], "the run has no phases")
    if report["left_out"]:
        output.say(f"{report['left_out']} more phases are not listed")
    for one in report["objects"]:
        was, now = (", ".join(one[side]) or "nothing" for side in ("then", "now"))
        output.say(f"objects.{one['name']} was {was}, now {now}: a journal can't tell whether it is found there")
    if report["same"]:
        output.say(f"{report['run']} ({report['version']}): these files would have done the same")


def _row(phase: dict[str, Any]) -> tuple[Any, ...]:
    again = f" ({phase['attempt']})" if (phase["attempt"] or 1) > 1 else ""
    task = f"{phase['task']}{again}" if phase["task"] else None
    where = phase["note"]
    if phase["then"] or phase["now"]:
        where = f"then {_side(phase['then'])}\nnow  {_side(phase['now'])}"
    verdict = phase["verdict"].replace("_", " ")
    return phase["phase"], task, verdict, phase["instructions"], phase["seq"], where


def _side(side: dict[str, Any] | None) -> str:
    """One line of what was, or is, done."""
    if side is None:
        return "-"
    line = f" (line {side['line']})" if side.get("line") else ""
    if side["what"] == "instruction":
        args = ", ".join(f"{name}={_value(value)}" for name, value in (side["args"] or {}).items())
        commit = ", commit=True" if side["commit"] else ""
        return _cut(f"{side['name']}({args}{commit})") + line
    what = ENDS.get(side["what"], side["what"])
    said = side["message"] or (_value(side["output"]) if side["output"] is not None else "")
    return _cut(f"{what}{f': {said}' if said else ''}") + line


def _value(value: Any) -> str:
    """A value as a script would write it; objects by their name."""
    if isinstance(value, dict) and len(value) == 1:
        for handle, shown in (("$object", "objects.{}"), ("$secret", "secrets.get({!r})")):
            if handle in value:
                return shown.format(value[handle])
    return json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX] + " ..."
