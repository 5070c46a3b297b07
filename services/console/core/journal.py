"""A run's journal as people read it: each instruction with its own outcome.

Called by: store/runs.py. In the journal the reply to an instruction stands in a later entry (with the snapshot that
follows from it); here the two are brought together. Change also: services/executor/core/journal.py, which writes the
entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

VALUE_TEXT_MAX = 2000


def view_steps(entries: Iterable[Mapping[str, Any]], evidence: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of one run in order of seq, as flat dicts, replies and evidence at the instruction they belong to."""
    views: dict[int, dict[str, Any]] = {}
    for entry in entries:
        reply = entry.get("reply")
        if reply is not None:
            _answer(views, entry, reply)
        views[entry["seq"]] = _view(entry)
    for link in evidence:
        if link.get("seq") in views:
            views[link["seq"]]["evidence"].append(view_evidence(link))
    return list(views.values())


def view_evidence(link: Mapping[str, Any]) -> dict[str, Any]:
    """An evidence link without what is internal."""
    return {
        "id": link["_id"],
        "name": link["name"],
        "media_type": link["media_type"],
        "size_bytes": link["size_bytes"],
        "sha256": link["sha256"],
        "at": link["at"],
        "task": link.get("task"),
        "seq": link.get("seq"),
        "dropped": link.get("dropped"),
    }


def _answer(views: dict[int, dict[str, Any]], entry: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
    """Attach a reply to the instruction that it answers: the one it names, else the last one before this entry."""
    asked = [seq for seq in views if views[seq]["kind"] == "instruction" and seq < entry["seq"]]
    seq = reply.get("seq") or (max(asked) if asked else None)
    if seq not in views:
        return
    error = reply.get("error") or None
    views[seq].update(
        outcome=reply.get("outcome"),
        duration_s=reply.get("duration_s"),
        value=_short(reply.get("value")),
        matched=reply.get("matched"),
        context=reply.get("context"),
        error=f"{error.get('code', 'ERROR')}: {error.get('message', '')}" if isinstance(error, Mapping) else error,
    )


def _view(entry: Mapping[str, Any]) -> dict[str, Any]:
    instruction = entry.get("instruction") or {}
    return {
        "seq": entry["seq"],
        "kind": entry["kind"],
        "at": entry["at"],
        "phase": entry.get("phase"),
        "task": entry.get("task"),
        "attempt": entry.get("attempt"),
        "executor": entry.get("executor"),
        "name": instruction.get("name"),
        "args": {name: _short(value) for name, value in (instruction.get("args") or {}).items()},
        "effect": instruction.get("effect"),
        "commit": bool(instruction.get("commit")),
        "script": instruction.get("script"),
        "function": instruction.get("function"),
        "line": instruction.get("line"),
        "timeout_s": instruction.get("timeout_s"),
        "outcome": None,
        "duration_s": None,
        "value": None,
        "error": None,
        "matched": None,
        "context": None,
        "failure": _failure(entry),
        "text": _text(entry),
        "logs": [_short(line) for line in entry.get("logs") or []],
        "evidence": [],
    }


def _failure(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """All that is kept with a failure, of the entry that ended a phase."""
    outcome = entry.get("outcome")
    error = outcome.get("error") if isinstance(outcome, Mapping) else None
    return dict(error) if isinstance(error, Mapping) else None


def _text(entry: Mapping[str, Any]) -> str | None:
    """What an entry that is no instruction says, in one line."""
    for field in ("outcome", "abort", "end"):
        said = entry.get(field)
        if isinstance(said, Mapping):
            parts = (said.get("state"), said.get("reason"), said.get("text"), said.get("message"), _error(said))
            return ": ".join(str(part) for part in parts if part) or None
    return None


def _error(said: Mapping[str, Any]) -> str | None:
    error = said.get("error")
    return str(error.get("message") or error.get("code") or "") if isinstance(error, Mapping) else None


def _short(value: Any) -> Any:
    """A value as it is when it is small, else the beginning of its text."""
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= VALUE_TEXT_MAX else text[:VALUE_TEXT_MAX] + " ..."
