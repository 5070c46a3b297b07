"""Erasure of one person's data: which tasks are meant, and what stays of each document. Pure. Called by: erasing/.

What stays: ids, references, states, times, counts, amounts. What goes: input, result, error texts, evidence, log lines,
what the script said and was told, what partners were sent. `MARK` stands where something was. Change also:
docs/retention.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

MARK = "erased"
KEPT_OF_VIEW = (
    "id", "reference", "workflow", "batch", "state", "priority", "attempts", "created_at", "finished_at",
)  # fmt: skip
KEPT_OF_INSTRUCTION = ("name", "effect", "commit", "timeout_s", "line", "script", "function")
KEPT_OF_REPLY = ("seq", "outcome", "value_too_large", "desktop", "duration_s", "repeated", "local", "matched")


def query_of(criteria: Mapping[str, Any], account: str, workflows: Sequence[str]) -> dict[str, Any]:
    """The tasks that an erasure means, as a query; those that were erased before are not in it.

    criteria: {references} or {field, value}, perhaps with {workflow}. workflows: all of the account, for an index that
    begins with them.
    """
    wanted = [criteria["workflow"]] if criteria.get("workflow") else list(workflows)
    query: dict[str, Any] = {"account": account, "erased": None}
    if criteria.get("references") is not None:
        return {**query, "workflow": {"$in": wanted}, "reference": {"$in": list(criteria["references"])}}
    if criteria.get("workflow"):
        query["workflow"] = criteria["workflow"]
    return {**query, f"input.{criteria['field']}": {"$eq": criteria["value"]}}


def erased_view(view: Mapping[str, Any]) -> dict[str, Any]:
    """A task as its partner sees it, without anything of the person."""
    kept = {name: view.get(name) for name in KEPT_OF_VIEW}
    return {
        **kept,
        "result": None,
        "error": _error(view.get("error")),
        "evidence": [],
        "hold": None,
        "why_waiting": None,
        "erased": True,
    }


def erased_body(body: str) -> str:
    """A webhook's or a feed entry's body, without anything of the person."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = {}
    if "data" in parsed:
        data = parsed["data"] if isinstance(parsed["data"], Mapping) else {}
        parsed = {"type": parsed.get("type"), "timestamp": parsed.get("timestamp"), "data": erased_view(data)}
    else:
        parsed = erased_view(parsed)
    return json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))


def erased_task(task: Mapping[str, Any], erasure: str) -> dict[str, Any]:
    """The fields of a task's document that change."""
    hold = task.get("hold")
    return {
        "input": {MARK: erasure},
        "input_digest": MARK,
        "result": {"output": {MARK: erasure}} if task.get("result") else None,
        "error": _error(task.get("error")),
        "hold": {**hold, "text": MARK} if hold else None,
        "evidence": [],
        "files": [],
        "group": MARK if task.get("group") else None,
        "history": [{**entry, "reason": MARK} if entry.get("reason") else entry for entry in task.get("history") or ()],
    }


def erased_step(step: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a journal's entry that change; which instruction it was, and how it ended, stay."""
    instruction, reply, outcome = step.get("instruction"), step.get("reply"), step.get("outcome")
    fields: dict[str, Any] = {"logs": [], "answers": [], "erased": True}
    if isinstance(instruction, Mapping):
        kept = {name: instruction[name] for name in KEPT_OF_INSTRUCTION if name in instruction}
        fields["instruction"] = {**kept, "args": {}}
    if isinstance(reply, Mapping):
        kept = {name: reply[name] for name in KEPT_OF_REPLY if name in reply}
        fields["reply"] = {**kept, "value": None, "error": _error(reply.get("error")), "evidence": [], "recent": []}
    if isinstance(outcome, Mapping):
        hold = outcome.get("hold")
        fields["outcome"] = {
            "state": outcome.get("state"),
            "output": None,
            "error": _error(outcome.get("error")),
            "hold": {"reason": hold.get("reason")} if isinstance(hold, Mapping) else None,
            "delay_s": outcome.get("delay_s"),
        }
    return fields


def _error(error: Any) -> dict[str, Any] | None:
    """An error's kind and code."""
    if not isinstance(error, Mapping):
        return None if error is None else {"code": MARK, "message": MARK}
    kept = {name: error[name] for name in ("kind", "code") if name in error}
    return {**kept, "message": MARK}
