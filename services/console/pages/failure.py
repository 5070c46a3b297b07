"""A failure as people read it: the instruction, the script's lines, what was done last, what was open, the picture.

Called by: task.py, run.py. It shows a task's `error` (or an outcome entry's) as services/executor/core/failing.py and
the journal made it; an older one has only some of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.console.pages.evidence import thumbnails
from services.console.pages.markup import Html, facts, link, mono, seconds, table, tag
from services.console.pages.script import source
from services.console.pages.texts import state
from services.console.pages.visit import Visit

AROUND = 3
"""Lines shown before and behind each line of a traceback."""
FRAMES_MAX = 8
PICTURE = "failure"


def failure_view(
    visit: Visit,
    error: Mapping[str, Any],
    files: Mapping[str, str],
    *,
    run: str | None = None,
    evidence: Sequence[Mapping[str, Any]] = (),
) -> Html:
    """Everything that is kept with a failure. `run`: where it happened; `evidence`: its picture is among it."""
    failed = _failed(error)
    parts = [
        _head(visit, error, failed, run),
        _picture(visit, failed, run, evidence),
        _traceback(visit, error, failed, files),
        _recent(visit, error.get("recent") or [], failed, run),
        context_view(visit, error.get("context")),
    ]
    return tag("div", parts, class_="failure")


def context_view(visit: Visit, context: Mapping[str, Any] | None) -> Html:
    """What the robot could tell of open pages, dialogs and windows."""
    _ = visit.text
    if not context:
        return Html("")
    pages = [(_mark(visit, one), one.get("title"), mono(one.get("url") or "")) for one in context.get("pages") or ()]
    windows = [
        (_mark(visit, one), one.get("title"), mono(one.get("process") or "")) for one in context.get("windows") or ()
    ]
    dialogs = [(one.get("type"), one.get("message"), one.get("answer")) for one in context.get("dialogs") or ()]
    parts = []
    if pages:
        parts.append(_part(_("Open pages"), table(("", _("Title"), _("Address")), pages, "")))
    if windows:
        parts.append(_part(_("Open windows"), table(("", _("Title"), _("Program")), windows, "")))
    if dialogs:
        parts.append(_part(_("Dialogs that pages showed"), table((_("Kind"), _("Text"), _("Answer")), dialogs, "")))
    parts += [tag("div", note, class_="dim") for note in context.get("notes") or ()]
    return Html("".join(parts))


def _failed(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """The instruction that failed; of an older failure the last one, if it was not done."""
    if "failed" in error:
        return error["failed"] or {}
    last = (error.get("recent") or [{}])[-1]
    return last if last.get("outcome") not in (None, "done") else {}


def _head(visit: Visit, error: Mapping[str, Any], failed: Mapping[str, Any], run: str | None) -> Html:
    _ = visit.text
    where = f"{failed.get('script') or ''}:{failed['line']}" if failed.get("line") else ""
    name: Any = tag("b", failed.get("name")) if failed else _("none: the script itself failed")
    if failed and run:
        name = link(name, f"/runs/{run}?seq={failed.get('seq')}")
    function = f" ({failed['function']})" if failed.get("function") else ""
    return facts(
        [
            (_("Error"), [tag("b", error.get("message"), class_="bad"), f" {error.get('code') or ''}"]),
            (_("Failed instruction"), [name, " ", mono(where), function]),
            (_("Outcome"), state(_, failed.get("outcome")) if failed.get("outcome") else ""),
        ]
    )


def _picture(visit: Visit, failed: Mapping[str, Any], run: str | None, evidence: Sequence[Mapping[str, Any]]) -> Html:
    """The picture of the moment, large enough to be read."""
    seq = failed.get("seq")
    found = [
        dict(one)
        for one in evidence
        if one["name"] == PICTURE and one.get("seq") == seq and (run is None or one.get("run") in (None, run))
    ]
    return tag("div", thumbnails(visit, found), class_="shot") if found and seq is not None else Html("")


def _traceback(visit: Visit, error: Mapping[str, Any], failed: Mapping[str, Any], files: Mapping[str, str]) -> Html:
    """The script's lines on the way to the failure, outermost first."""
    _ = visit.text
    frames = error.get("traceback") or []
    if isinstance(frames, str):
        return _part(_("Traceback"), tag("pre", frames, class_="code"))
    own = [frame for frame in frames if isinstance(frame, Mapping) and frame.get("line")]
    if not own and failed.get("line"):
        own = [{**failed, "file": failed.get("script")}]
    shown = [_frame(frame, files) for frame in own[-FRAMES_MAX:]]
    return _part(_("Traceback"), Html("".join(shown))) if shown else Html("")


def _frame(frame: Mapping[str, Any], files: Mapping[str, str]) -> Html:
    name, line = str(frame.get("file") or ""), int(frame["line"])
    lines = files.get(name, "").splitlines()
    first = max(0, line - 1 - AROUND)
    head = tag("div", f"{name}:{line}", f" {frame.get('function') or ''}", class_="dim mono")
    return Html(head + (source(lines[first : line + AROUND], first + 1, line) if lines else ""))


def _recent(visit: Visit, recent: Sequence[Mapping[str, Any]], failed: Mapping[str, Any], run: str | None) -> Html:
    _ = visit.text
    rows = []
    for one in reversed(recent):
        seq = mono(f"#{one.get('seq')}")
        text: Any = tag("b", one.get("name"), class_="bad") if one.get("seq") == failed.get("seq") else one.get("name")
        outcome = state(_, one["outcome"]) if one.get("outcome") else ""
        rows.append(
            (
                link(seq, f"/runs/{run}?seq={one.get('seq')}") if run else seq,
                one.get("line") or "",
                text,
                [outcome, " ", one.get("error") or ""],
                seconds(one.get("duration_s")),
            )
        )
    if not rows:
        return Html("")
    columns = ("#", _("Line"), _("Instruction"), _("Outcome"), _("Took"))
    return _part(
        _("The last instructions, newest first"), table(columns, rows, "", classes=("num", "num", "", "", "num"))
    )


def _mark(visit: Visit, one: Mapping[str, Any]) -> Html:
    _ = visit.text
    return tag("span", _("in use"), class_="badge s-running") if one.get("active") else Html("")


def _part(title: str, content: Html) -> Html:
    return tag("div", tag("h3", title), content)
