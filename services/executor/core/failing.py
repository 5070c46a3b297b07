"""What is kept with a failure: the instruction that failed, and what the robot saw then.

Called by: services/executor/runner.py, when a task or setup ended badly. Pure. The robot's side of it is
`context` in a reply (pages, dialogs, windows); the picture is evidence of the same instruction, named `failure`.
Change also: services/console/pages/failure.py, which shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

INSTRUCTION = "instruction"
PICTURE = "failure"


def failure(
    error: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], noted: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A failure's error with `failed` and `context` added; both null when no instruction is to blame.

    error: {code, message, ..} as the phase ended; entries: the run's journal, or its last part; noted: the reply that
    no entry holds yet. failed: {seq, name, script, function, line, outcome, code, picture (an evidence id or null)}.
    """
    replies = {reply["seq"]: reply for reply in _replies(entries, noted)}
    asked = [entry for entry in entries if entry["kind"] == INSTRUCTION]
    blamed = _blamed(asked, replies, str(error.get("message") or ""))
    if blamed is None:
        return {**error, "failed": None, "context": None}
    reply = replies.get(blamed["seq"]) or {}
    instruction = blamed["instruction"]
    failed = {
        "seq": blamed["seq"],
        **{key: instruction.get(key) for key in ("name", "script", "function", "line")},
        "outcome": str(reply["outcome"]) if reply else None,
        "code": (reply.get("error") or {}).get("code"),
        "picture": _picture(reply),
    }
    return {**error, "failed": failed, "context": reply.get("context")}


def _blamed(
    asked: Sequence[Mapping[str, Any]], replies: Mapping[int, Mapping[str, Any]], message: str
) -> Mapping[str, Any] | None:
    """The newest instruction whose error is the failure's text: a script may do more, such as take a picture, before
    it lets an error go on. Else the last one, if it was not done: doubt, cuts and errors that the script put in its own
    words."""

    def says_so(entry: Mapping[str, Any]) -> bool:
        said = (replies.get(entry["seq"]) or {}).get("error") or {}
        return bool(said) and f"{said.get('code')}: {said.get('message')}" in message

    blamed = [entry for entry in asked if says_so(entry)]
    if blamed:
        return blamed[-1]
    if not asked or str((replies.get(asked[-1]["seq"]) or {}).get("outcome")) == "done":
        return None
    return asked[-1]


def _replies(entries: Iterable[Mapping[str, Any]], noted: Mapping[str, Any] | None) -> Iterable[Mapping[str, Any]]:
    yield from (entry["reply"] for entry in entries if entry.get("reply"))
    if noted is not None:
        yield noted


def _picture(reply: Mapping[str, Any]) -> str | None:
    return next((str(one["id"]) for one in reply.get("evidence") or () if one["name"] == PICTURE), None)
