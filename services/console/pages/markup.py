"""HTML made from Python, escaped unless it was made here. Called by: every page.

Pages build their tables as one text and send it only when it changed: a table of fifty rows is one element to the
browser's framework instead of four hundred.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any


class Html(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element. Children that are no Html are escaped; none and False are left out.

    Attributes: a trailing _ goes (class_), other _ become - (data_action); None and False are left out.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{escape(str(value), quote=True)}"')
    head = " ".join(parts)
    if name in {"img", "br", "input", "meta", "link"}:
        return Html(f"<{head}>")
    return Html(f"<{head}>{join(children)}</{name}>")


def join(children: Iterable[Any]) -> Html:
    """Children one after another."""
    return Html("".join(_child(child) for child in children))


def _child(child: Any) -> str:
    if child is None or child is False:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return join(child)
    return escape(str(child))


def badge(word: str | None, text: str | None = None) -> Html:
    """A state in its colour; `text` is what is shown, `word` decides the colour."""
    if not word:
        return Html("")
    return tag("span", text or word, class_=f"badge s-{word}")


def link(text: Any, href: str, class_: str | None = None) -> Html:
    """A link within the pages."""
    return tag("a", text, href=href, class_=class_)


def mono(text: Any) -> Html:
    """An id or a value in a fixed-width face."""
    return tag("span", text, class_="mono")


def short_id(document_id: str | None) -> str:
    """The end of an id, which is what tells ids of one day apart."""
    if not document_id:
        return ""
    prefix, separator, rest = document_id.rpartition("_")
    return f"{prefix}{separator}…{rest[-8:]}" if len(rest) > 12 else document_id


def button(text: str, action: str, key: str, class_: str = "") -> Html:
    """A small button in a table; the click arrives as {action, key}."""
    return tag("button", text, type="button", class_=f"act {class_}".strip(), data_action=action, data_key=key)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str, *, classes: Sequence[str] = ()) -> Html:
    """A table; `classes` are the columns' classes, such as num."""
    if not rows:
        return tag("div", empty, class_="empty")
    css = [*classes, *([""] * len(columns))]
    head = tag("tr", [tag("th", column, class_=css[i] or None) for i, column in enumerate(columns)])
    body = [tag("tr", [tag("td", cell, class_=css[i] or None) for i, cell in enumerate(row)]) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", body), class_="grid")


def facts(rows: Iterable[tuple[str, Any]]) -> Html:
    """Names and values; what is missing is left out."""
    shown = [(name, value) for name, value in rows if value not in (None, "", [], {})]
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in shown], class_="facts")


def strip(rows: Iterable[tuple[str, Any]]) -> Html:
    """As facts, beside each other."""
    shown = [(name, value) for name, value in rows if value not in (None, "", [], {})]
    return tag("div", [tag("div", tag("i", name), value) for name, value in shown], class_="strip")


def code(value: Any) -> Html:
    """A value as JSON."""
    return tag("pre", json.dumps(value, ensure_ascii=False, indent=2, default=str), class_="code")


def seconds(value: float | None) -> str:
    """A duration as people read it."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{round(value, 1):g} s"
    for unit, size_s in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if value >= size_s:
            return f"{value / size_s:.0f} {unit}"
    return f"{value:.0f} s"


def age(at: datetime | None, now: datetime) -> Html:
    """How long ago, with the moment itself for the mouse; whole seconds, so that the text rests between changes."""
    if at is None:
        return Html("")
    past_s = max(0.0, (now - at).total_seconds())
    text = f"{past_s:.0f} s" if past_s < 60 else seconds(past_s)
    return tag("span", text, title=at.isoformat(timespec="seconds"), class_="age")
