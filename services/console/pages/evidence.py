"""Thumbnails of evidence, and the large picture that a click opens. Called by: task.py, run.py."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.pages.markup import Html, tag
from services.console.pages.visit import Visit

PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


def thumbnails(visit: Visit, links: list[dict[str, Any]], small: bool = False) -> Html:
    """Pictures as thumbnails, other files as links; `links` are documents or views of them."""
    _ = visit.text
    if not links:
        return tag("div", _("None yet."), class_="empty") if not small else Html("")
    return tag("div", [_one(visit, one) for one in links], class_="thumbs small" if small else "thumbs")


def _one(visit: Visit, one: dict[str, Any]) -> Html:
    _ = visit.text
    link_id = one.get("_id") or one["id"]
    address = f"/api/v1/evidence/{link_id}"
    if one.get("dropped"):
        return tag("span", one["name"], " ", tag("i", _("dropped")), class_="file")
    if one["media_type"] in PICTURES:
        picture = tag("img", src=address, loading="lazy", alt=one["name"])
        title = f"{one['name']} · {visit.moment(one['at'])}"
        return tag(
            "figure",
            picture,
            tag("figcaption", one["name"]),
            title=title,
            data_action="picture",
            data_key=f"{link_id} {one['name']}",
        )
    return tag("a", one["name"], href=address, class_="file", download=one["name"])


class Lightbox:
    """One large picture at a time."""

    def __init__(self, visit: Visit) -> None:
        with ui.dialog() as self._dialog, ui.element("div").classes("lightbox"):
            self._picture = ui.html("", sanitize=False)

    async def on_click(self, action: str, key: str) -> None:
        """A click on a thumbnail."""
        if action != "picture":
            return
        link_id, __, name = key.partition(" ")
        address = f"/api/v1/evidence/{link_id}"
        self._picture.content = tag(
            "a", tag("img", src=address, alt=name), tag("span", name), href=address, target="_blank"
        )
        self._dialog.open()
