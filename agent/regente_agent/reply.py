"""From what became of an instruction to the body of a reply that surely fits.

Called by: engine, courier. Survives a crash: an outcome is what the journal stores; the reply is made of it each time
it is asked for. Change also: wire.py; the server's worker_reply.

An outcome is {"outcome", "value", "value_too_large", "error", "desktop", "evidence" (entries without bytes), "recent",
"duration_s", "matched", "context", "found_s"}; what is absent has its default.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from regente_agent.scrub import Scrubber
from regente_agent.wire import Instruction

VALUE_BYTES_MAX = 256 * 1024
INLINE_BYTES_MAX = 1024 * 1024
INLINE_TOTAL_BYTES_MAX = 2 * 1024 * 1024
MESSAGE_MAX = 4000
EVIDENCE_MAX = 20
RECENT_MAX = 20
CONTEXT_MAX = 20
CONTEXT_CHARS_MAX = 300


def failure(outcome: str, code: str, text: str, *, lost: bool = False) -> Dict[str, Any]:
    """An outcome that is no success."""
    return {
        "outcome": outcome,
        "error": {"code": code, "message": text[:MESSAGE_MAX]},
        "desktop": "lost" if lost else "kept",
    }


def sight(frame: Mapping[str, Any], scrubber: Scrubber) -> Dict[str, Any]:
    """What an outcome takes over from a frame in which the driver tells what it sees, without anything typed."""
    seen, context = frame.get("context"), None
    if seen:
        clean = scrubber.clean_all(seen, CONTEXT_CHARS_MAX)
        context = {name: clean.get(name, [])[:CONTEXT_MAX] for name in ("pages", "dialogs", "windows", "notes")}
    return {"evidence": frame.get("evidence") or [], "matched": frame.get("matched"), "context": context}


def recent_entry(one: Instruction, outcome: Mapping[str, Any]) -> Dict[str, Any]:
    """An instruction as a later failure tells it."""
    known = {"name": one.name, "seq": one.seq, "line": one.line}
    return dict(known, outcome=outcome["outcome"], duration_s=outcome["duration_s"])


def log_line(one: Instruction, outcome: Mapping[str, Any]) -> Tuple[str, str, Dict[str, Any]]:
    """The line of the log for an outcome: level, text, facts."""
    facts: Dict[str, Any] = {"run": one.run, "task": one.task, "seq": one.seq, "duration_s": outcome["duration_s"]}
    if one.line is not None:
        facts["line"] = one.line
    if one.commit:
        facts["commit"] = True
    if outcome["outcome"] == "done":
        return "info", one.name, facts
    error = outcome["error"]
    pages = (outcome.get("context") or {}).get("pages", ())
    facts.update(next(({"url": page["url"], "title": page["title"]} for page in pages if page["active"]), {}))
    facts.update(outcome=outcome["outcome"], code=error["code"], desktop=outcome["desktop"])
    return "error" if outcome["outcome"] == "in_doubt" else "warning", f"{one.name}: {error['message']}", facts


def limited(outcome: Mapping[str, Any]) -> Dict[str, Any]:
    """The outcome cut to what fits in a journal's row and a message; a value too large is left out, and said so."""
    kept = dict(outcome)
    try:
        size = len(json.dumps(kept.get("value"), allow_nan=False))
    except (TypeError, ValueError):
        size = VALUE_BYTES_MAX + 1
    if size > VALUE_BYTES_MAX:
        kept["value"], kept["value_too_large"] = None, True
    kept["evidence"] = list(kept.get("evidence", ()))[:EVIDENCE_MAX]
    return kept


def body(
    outcome: Mapping[str, Any], run: str, seq: int, epoch: int, origin: Mapping[str, Any], *, repeated: bool, lost: bool
) -> Dict[str, Any]:
    """The reply's body without its evidence. `origin`: worker, session, journal; `lost`: the desktop is gone by now."""
    return dict(
        origin,
        run=run,
        seq=seq,
        epoch=epoch,
        outcome=outcome["outcome"],
        value=outcome.get("value"),
        value_too_large=bool(outcome.get("value_too_large")),
        error=outcome.get("error"),
        desktop="lost" if lost else outcome.get("desktop", "kept"),
        evidence=[],
        recent=list(outcome.get("recent", ()))[-RECENT_MAX:],
        duration_s=float(outcome.get("duration_s", 0.0)),
        found_s=outcome.get("found_s"),
        repeated=repeated,
        matched=outcome.get("matched"),
        context=outcome.get("context"),
    )


def attach(entries: List[Mapping[str, Any]], folder: Path) -> Tuple[List[Dict[str, Any]], List[Path]]:
    """Evidence as it travels: small files inside the reply, the rest to be carried over by themselves.

    Returns: the entries for the reply, and the files that still have to go (named by their hash).
    """
    attached: List[Dict[str, Any]] = []
    to_carry: List[Path] = []
    room = INLINE_TOTAL_BYTES_MAX
    for entry in entries:
        sent = dict(entry, data=None, dropped=False)
        file = folder / str(entry["sha256"])
        if int(entry["size_bytes"]) <= min(INLINE_BYTES_MAX, room):
            data = _read(file)
            room -= len(data) if data is not None else 0
            sent["data"] = base64.b64encode(data).decode("ascii") if data is not None else None
            sent["dropped"] = data is None
        elif file.is_file():
            to_carry.append(file)
        else:
            sent["dropped"] = True
        attached.append(sent)
    return attached, to_carry


def _read(file: Path) -> Optional[bytes]:
    try:
        return file.read_bytes()
    except OSError:
        return None
