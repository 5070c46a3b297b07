"""What a reader of the results feed gets. Pure. Called by: feed.py, results_api.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

READER_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
READER_DEFAULT = "default"


@dataclass(frozen=True)
class Wanted:
    """Which entries a reader wants; none: all."""

    workflow: str | None = None
    event: str | None = None

    @property
    def narrow(self) -> bool:
        """Not every entry."""
        return self.workflow is not None or self.event is not None


@dataclass(frozen=True)
class Page:
    """A part of the feed."""

    entries: tuple[Mapping[str, Any], ...]
    """Those that are wanted, in order."""
    after: int
    """Where to go on: every entry up to this number is in this page, in an earlier one, or not wanted."""
    more: bool
    """Whether something stands behind it already."""


def page_of(scanned: Sequence[Mapping[str, Any]], *, after: int, limit: int, scanned_max: int) -> Page:
    """The page that follows from a look at the feed.

    scanned: entries behind `after` in the order of their numbers, without gaps; those that are not wanted have no
    body. scanned_max: at most so many were asked for.
    """
    entries: list[Mapping[str, Any]] = []
    for at, entry in enumerate(scanned):
        if "body" in entry:
            entries.append(entry)
        after = int(entry["n"])
        if len(entries) == limit:
            return Page(tuple(entries), after, at + 1 < len(scanned) or len(scanned) >= scanned_max)
    return Page(tuple(entries), after, len(scanned) == scanned_max)
