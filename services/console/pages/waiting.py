"""Why a task waits: the sentence, the forecast, and the facts as a small table.

Called by: task.py. Change also: facts_view in shared/domain/why_waiting.py, whose names are translated here; a fact
that has no name here is shown under its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from services.console.pages.markup import Html, badge, join, table, tag
from services.console.pages.visit import Visit
from shared.mongo.waiting import Explanation

WORDS = {"gate.reason", "gate.per", "warm"}
"""Facts whose value is one of a few words."""
LEFT_OUT = {"state", "workflow", "hold", "not_before", "deadline"}
"""Facts that stand elsewhere on the page."""


def waiting_view(visit: Visit, task: Mapping[str, Any], said: Explanation) -> Html:
    """The sentence, the forecast and the facts."""
    _ = visit.text
    rows = [(name, value) for name, value in _rows(visit, said.facts) if value]
    why = said.why[:1].upper() + said.why[1:]
    return join(
        [
            tag("p", why, class_="why"),
            _forecast(visit, task, said.forecast) if said.forecast else None,
            tag("div", table((_("Fact"), ""), rows, _("Nothing is known.")), class_="narrow") if rows else None,
        ]
    )


def _forecast(visit: Visit, task: Mapping[str, Any], forecast: Mapping[str, Any]) -> Html:
    _ = visit.text
    kept: dict[Any, Html] = {True: badge("done", _("deadline kept")), False: badge("failed", _("deadline missed"))}
    parts = [
        (_("Starts about"), visit.moment(forecast.get("starts_at"))),
        (_("Ends about"), visit.moment(forecast.get("ends_at"))),
        (_("Deadline"), [visit.moment(task.get("deadline")), " ", kept.get(forecast.get("deadline_kept"), "")]),
        (_("Forecast"), forecast.get("text") or ""),
    ]
    if not task.get("deadline"):
        del parts[2]
    return tag("div", [tag("div", tag("i", name), value) for name, value in parts if value], class_="strip")


def _rows(visit: Visit, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Facts and facts within facts, one a row."""
    names, words = _names(visit), _reasons(visit)
    grouped = (facts.get("group") or {}).get("fields")
    for key, value in facts.items():
        if key in LEFT_OUT or (key == "group" and not grouped) or (key == "robots" and facts.get("server")):
            continue
        within = value if isinstance(value, Mapping) else {"": value}
        for part, one in within.items():
            path = f"{key}.{part}" if part else key
            shown = words.get(str(one), one) if path in WORDS else one
            yield names.get(path, path.replace("_", " ").replace(".", ": ")), _text(visit, shown, words)


def _text(visit: Visit, value: Any, words: Mapping[str, str]) -> str:
    _ = visit.text
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, datetime):
        return visit.moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{words.get(name, name)}: {one}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _reasons(visit: Visit) -> dict[str, str]:
    """Reasons of gates and robots (shared.domain.gates, shared.domain.fitness), as people call them."""
    _ = visit.text
    return {
        "account": _("of another account"),
        "workflow": _("for other workflows"),
        "exclusive": _("exclusive for another"),
        "tags": _("without a tag"),
        "mode": _("by mode"),
        "quarantine": _("quarantine"),
        "schedule": _("by schedule"),
        "held": _("on hold"),
        "closed": _("closed"),
        "limit": _("limit reached"),
        "runs": _("enough runs"),
        "unpublished": _("unpublished"),
        "ready": _("stands ready"),
        "busy": _("at work, or being prepared"),
        "hour": _("hour"),
        "day": _("day"),
        "month": _("month"),
    }


def _names(visit: Visit) -> dict[str, str]:
    _ = visit.text
    return {
        "ahead": _("Tasks that go first"),
        "gate.open": _("The workflow takes tasks"),
        "gate.reason": _("Why it takes none"),
        "gate.until": _("Until"),
        "gate.room": _("Tasks left by the limits"),
        "gate.per": _("Limit per"),
        "gate.max": _("Limit, or runs at once"),
        "gate.used": _("Used"),
        "gate.of_account": _("Of the whole account"),
        "gate.runs": _("Runs at work"),
        "gate.text": _("Said"),
        "gate.at": _("Since"),
        "gate.by": _("By"),
        "gate.run": _("Run"),
        "warm": _("Robot kept warm for it"),
        "server.runs": _("Runs without a robot"),
        "server.max": _("Runs without a robot, at most"),
        "robots.authorised": _("Robots authorised"),
        "robots.may_run_it": _("Robots that may run it"),
        "robots.connected": _("Of these, connected"),
        "robots.taking": _("Of these, taking work"),
        "robots.free": _("Of these, free"),
        "robots.unfit": _("Robots that may not run it, by reason"),
        "robots.away": _("Robots that take nothing now, by reason"),
        "robots.tags": _("Tags it needs"),
        "group.fields": _("Grouped by"),
        "group.runs": _("Runs with the same group"),
    }
