"""Reading a partner's answers, and what is owed to a partner for what was taken.

Called by: sources/poll.py, web.py. Pure; `read_page` takes up to a second or two: call it in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.collector.core.body import ITEMS_MAX, Unreadable, parse_json
from services.collector.core.looks import Failure
from services.collector.core.paging import BadPage, Place, cursor_of, next_place
from shared.domain.retry_after import retry_after_s
from shared.intake.expressions import BUDGET, Expression, Failed, Purse
from shared.intake.mapping import mapped
from shared.intake.source_settings import Acknowledgement, PollSettings

SLOW = frozenset({429, 503})
UNACKNOWLEDGED_MAX = 100
UNACKNOWLEDGED_BYTES_MAX = 64 * 1024
"""As JSON: they stand in the source's document."""
VALUES_SHOWN = 20
TEXT_SHOWN = 300


@dataclass
class PageRead:
    """What a page held."""

    items: list[dict[str, Any]] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    """Why an element could not be mapped, by its place."""
    next: Place | None = None
    cursor: Any = None


def read_page(settings: PollSettings, data: bytes, place: Place, *, url: str, link: str | None) -> PageRead:
    """An answer's body as items, and where it goes on. Raises: Failure."""
    if not data.strip():
        return PageRead()
    purse = Purse(BUDGET + len(data) // 4)
    try:
        body = parse_json(data)
        elements = Expression(settings.items).of(body, purse)
        elements = [] if elements is None else elements
        if not isinstance(elements, list):
            raise Failure(f"items: {settings.items!r} gives no list on this answer")
        if len(elements) > ITEMS_MAX:
            raise Failure(f"the page has {len(elements)} items; at most {ITEMS_MAX} are taken: ask for smaller pages")
        following = next_place(settings, place, url=url, link=link, body=body, count=len(elements), purse=purse)
        cursor = cursor_of(settings, body, purse)
        items, problems = mapped(elements, settings.item, purse)
    except Unreadable as error:
        raise Failure(f"the answer can't be read: {error}") from error
    except (Failed, BadPage) as error:
        raise Failure(str(error), restart=True) from error
    return PageRead(items, problems, following, cursor)


def status_failure(what: str, status: int, *, retry_after: str | None, now: datetime, place: Place) -> Failure | None:
    """Why an answer is none that can be used, or none. A place that leads nowhere any more is given up."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Failure(f"{what} answered {status}: redirects are not followed; put the new address into the settings")
    if status in (401, 403):
        return Failure(f"{what} answered {status}: it does not accept the authentication")
    text = f"{what} answered {status}"
    wait_s = retry_after_s(retry_after, now) if status in SLOW else None
    if wait_s is not None:
        text += f" and asks to wait {wait_s:.0f} s"
    return Failure(text, retry_after_s=wait_s, restart=bool(place) and 400 <= status < 500 and status != 429)


def owed_for(wanted: Acknowledgement | None, answer: Mapping[str, Any], cursor: Any) -> list[dict[str, Any]]:
    """The acknowledgements that these taken items make; each with the values for its places."""
    if wanted is None:
        return []
    done = [(one["reference"], one["id"]) for one in answer["accepted"]]
    if wanted.refused:
        done += [(one["reference"], None) for one in answer["rejected"] if one["reference"] is not None]
    if not done:
        return []
    if wanted.per == "task":
        return [{"reference": reference, "id": id, "cursor": cursor} for reference, id in done]
    references, ids = [reference for reference, _ in done], [id for _, id in done if id is not None]
    return [{"references": references, "ids": ids, "count": len(done), "cursor": cursor}]


@dataclass(frozen=True)
class Refusal:
    """An acknowledgement that the partner will never take."""

    values: Mapping[str, Any]
    status: int


def unacknowledged(
    old: Sequence[Mapping[str, Any]], refused: Sequence[Refusal], at: datetime
) -> list[Mapping[str, Any]]:
    """What a source lists of refused acknowledgements, with more of them: the newest, as far as there is room. Of long
    lists of values the first VALUES_SHOWN."""
    found = [*old, *({"at": at, "status": one.status, "values": _shown(one.values)} for one in refused)]
    found = found[-UNACKNOWLEDGED_MAX:]
    sizes = [len(json.dumps(one, default=str)) for one in found]
    while sum(sizes) > UNACKNOWLEDGED_BYTES_MAX:
        del found[0], sizes[0]
    return found


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        if isinstance(value, list):
            found[name] = [_short(one) for one in value[:VALUES_SHOWN]]
        else:
            found[name] = _short(value)
    return found


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return value if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}..."
