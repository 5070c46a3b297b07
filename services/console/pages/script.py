"""A script with line numbers and one line marked. Called by: run.py, workflow.py."""

from __future__ import annotations

from typing import Any

from services.console.pages.markup import Html, tag

AROUND = 12
"""Lines shown before and behind the marked one; the whole script is on the workflow's page."""


def script_view(files: dict[str, str], step: dict[str, Any] | None, empty: str) -> Html:
    """The script of a step around its line."""
    name = (step or {}).get("script") or next((one for one in sorted(files) if one.endswith(".py")), None)
    if name is None or name not in files:
        return tag("div", empty, class_="empty")
    line = (step or {}).get("line")
    lines = files[name].splitlines()
    first = max(0, (line or 1) - 1 - AROUND)
    return Html(tag("div", name, class_="dim mono") + source(lines[first : first + 2 * AROUND + 1], first + 1, line))


def source(lines: list[str], first: int, marked: int | None = None) -> Html:
    """Lines of a text, numbered from `first`."""
    rows = [
        tag("tr", tag("td", number, class_="no"), tag("td", text), class_="here" if number == marked else None)
        for number, text in enumerate(lines, start=first)
    ]
    return tag("table", tag("tbody", rows), class_="source")
