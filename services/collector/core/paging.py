"""From one page of a partner's answer to the next, and what is asked for first.

Called by: sources/poll.py. Pure. Where a page stands is JSON, so that it can be kept: {url} of a link, {value} of a
cursor, {number} of a page, {offset}. Sources: RFC 8288 (Link).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from shared.intake.expressions import Expression, Purse
from shared.intake.source_settings import (
    CursorPaging,
    LinkPaging,
    NextPaging,
    OffsetPaging,
    PagePaging,
    PollSettings,
)
from shared.intake.templates import names_in, text_of

Place = dict[str, Any]
KEPT_LENGTH_MAX = 4000
KEPT = f"no text (of at most {KEPT_LENGTH_MAX} characters), number of 64 bits or truth value"
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINK = re.compile(r"<([^<>]*)>((?:[^,<\"]|\"(?:[^\"\\]|\\.)*\")*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)


class BadPage(Exception):
    """The answer leads nowhere that may be followed; the text says why."""


def first_place(settings: PollSettings) -> Place:
    """Where the first page is."""
    paging = settings.paging
    if isinstance(paging, PagePaging):
        return {"number": paging.first}
    return {"offset": 0} if isinstance(paging, OffsetPaging) else {}


def place_params(settings: PollSettings, place: Place) -> dict[str, str]:
    """The query parameters that a place adds."""
    paging, made = settings.paging, {}
    if isinstance(paging, PagePaging):
        made[paging.param] = str(place["number"])
        if paging.size_param and paging.size:
            made[paging.size_param] = str(paging.size)
    elif isinstance(paging, OffsetPaging):
        made[paging.param] = str(place["offset"])
        if paging.size_param:
            made[paging.size_param] = str(paging.size)
    elif isinstance(paging, CursorPaging) and "value" in place:
        made[paging.param] = text_of(place["value"])
    return made


def kept_params(settings: PollSettings, cursor: Any) -> dict[str, str]:
    """The request's own parameters; those with {cursor} only when there is one."""
    params = settings.request.params
    return {name: text for name, text in params.items() if cursor is not None or "cursor" not in names_in(text)}


def next_place(
    settings: PollSettings, place: Place, *, url: str, link: str | None, body: Any, count: int, purse: Purse
) -> Place | None:
    """Where the next page is; none: this was the last.

    url: of the request. link: the header. count: items of this page. Raises: BadPage, expressions.Failed.
    """
    paging = settings.paging
    found: Place | None = None
    if isinstance(paging, LinkPaging):
        found = _at(url, next_link(link)) if link else None
    elif isinstance(paging, NextPaging):
        found = _at(url, Expression(paging.expression).of(body, purse))
    elif isinstance(paging, CursorPaging):
        value = Expression(paging.expression).of(body, purse)
        if not _keepable(value):
            raise BadPage(f"paging: the expression gives {KEPT}")
        found = {"value": value} if value not in (None, "", False) else None
    elif isinstance(paging, PagePaging):
        last = count == 0 or (paging.size is not None and count < paging.size)
        return None if last else {"number": place["number"] + 1}
    elif isinstance(paging, OffsetPaging):
        return None if count < paging.size else {"offset": place["offset"] + count}
    if found is not None and found == place:
        if isinstance(paging, CursorPaging):
            return None  # a feed that stands at its end gives the same cursor again
        raise BadPage("paging: the next page is this page again")
    return found


def next_link(header: str) -> str | None:
    """The target of rel=next in a Link header."""
    for target, params in _LINK.findall(header):
        found = _NEXT.search(params)
        if found and "next" in (found[1] or found[2]).lower().split():
            return str(target)
    return None


def _at(url: str, target: Any) -> Place | None:
    """A link of an answer, as a place.

    Raises: BadPage for one that leads to another server: what is sent along is for this one only.
    """
    if target in (None, "", False):
        return None
    if not isinstance(target, str) or not _keepable(target):
        raise BadPage(f"paging: the next page's address is no text of at most {KEPT_LENGTH_MAX} characters")
    joined = urljoin(url, target)
    if origin(joined) != origin(url):
        raise BadPage(f"paging: the next page is on another server ({origin(joined)}); only the same one is followed")
    return {"url": joined}


def origin(url: str) -> str:
    """Scheme, host and port."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise BadPage("paging: the next page's address is none") from error
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def cursor_of(settings: PollSettings, body: Any, purse: Purse) -> Any:
    """What to keep of a page, or none.

    Raises: BadPage, expressions.Failed.
    """
    if settings.cursor is None:
        return None
    value = Expression(settings.cursor.expression).of(body, purse)
    if not _keepable(value):
        raise BadPage(f"cursor: the expression gives {KEPT}")
    return value


def _keepable(value: Any) -> bool:
    """Whether the database can hold it: what comes from outside may be a number of any size, or no Unicode."""
    if isinstance(value, str):
        return len(value) <= KEPT_LENGTH_MAX and not _SURROGATE.search(value)
    if isinstance(value, bool | float) or value is None:
        return True
    return isinstance(value, int) and -(2**63) <= value < 2**63


def newer_cursor(settings: PollSettings, kept: Any, found: Any) -> Any:
    """What to keep when a page gives `found`: null changes nothing; the larger one where it is set so."""
    if found is None or settings.cursor is None:
        return kept
    if settings.cursor.keep == "largest" and isinstance(found, str | int | float) and type(found) is type(kept):
        return max(kept, found)
    return found


def kept_place(position: Mapping[str, Any] | None, age_s: float, age_s_max: float) -> Place | None:
    """The place at which a look that was cut off goes on, when it is still good."""
    if position is None or age_s > age_s_max:
        return None
    return dict(position["place"])
