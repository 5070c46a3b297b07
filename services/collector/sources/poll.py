"""Asking a partner's HTTP API for tasks, page by page.

Called by: keeper.py, requests.py (trials). Survives a crash at any line, because of the order for each piece of at most
CHUNK items: the tasks are stored; then, in one guarded write, the cursor or the place moves, the counters count and the
acknowledgements are owed; then the partner is told; then nothing is owed any more. Cut off before the write, the same
page is asked for again and makes duplicates only; after it, what is owed is told at the beginning of the next look. So
a partner may be told twice, and never of a task that is not stored.

The kept `cursor` is what a look begins with. `position` is where a look that was cut off, or had too many pages, goes
on: for POSITION_S_MAX at most, because a partner's pages move.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from services.collector.core.answers import PageRead, Refusal, owed_for, read_page, status_failure, unacknowledged
from services.collector.core.looks import Failure
from services.collector.core.paging import (
    Place,
    first_place,
    kept_params,
    kept_place,
    newer_cursor,
    place_params,
)
from services.collector.sources.session import CHUNK, Session, Trial, chunks
from services.collector.sources.web import Web
from shared.domain.events import EventKind, Severity, event_document
from shared.intake.source_settings import Acknowledgement, OffsetPaging, PagePaging, PollSettings
from shared.intake.templates import fill, fill_url, text_of
from shared.mongo.events import raise_event
from shared.obs.clock import now
from shared.outbound import Answer, Refused, Request, checked_url

POSITION_S_MAX = 3600.0
ACKNOWLEDGED_AT_ONCE = 8
ACK_SIZE_BYTES_MAX = 64 * 1024
ALREADY = frozenset({404, 409, 410})
"""Answers to an acknowledgement that say: there is nothing left to do here."""
FOR_NOW = frozenset({401, 402, 403, 407, 408, 421, 423, 424, 425, 429})
"""Refusals (4xx) of an acknowledgement that another try may not meet."""


class Poller:
    """Looks at sources of kind poll."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def look(self, session: Session, at: datetime) -> bool:
        """All pages, or as many as one look may; true: there are more. Raises: as Session's methods."""
        settings = session.settings
        assert isinstance(settings, PollSettings)
        await self._acknowledge(session, settings)
        cursor = _cursor(settings, session.source)
        position = session.source.get("position")
        age_s = (at - position["at"]).total_seconds() if position else 0.0
        place = kept_place(position, age_s, POSITION_S_MAX)
        candidate = position.get("candidate", cursor) if position and place is not None else cursor
        place = first_place(settings) if place is None else place
        pages = 1 if isinstance(session, Trial) else settings.pages_max
        for _ in range(pages):
            page = await self._page(session, settings, place, cursor)
            candidate = newer_cursor(settings, candidate, page.cursor)
            await self._take(session, settings, page, candidate)
            if page.next is None:
                return False
            place = page.next
        return True

    async def _page(self, session: Session, settings: PollSettings, place: Place, cursor: Any) -> PageRead:
        session.check()
        request = _request(settings, place, cursor)
        wanted = settings.request
        answer = await self._web.send(
            session, settings.auth, request, timeout_s=wanted.timeout_s, size_bytes_max=settings.page_bytes_max
        )
        _refuse(answer, place)
        session.notes.pages += 1
        return await asyncio.to_thread(
            read_page, settings, answer.body, place, url=str(request.url), link=_link(answer)
        )

    async def _take(self, session: Session, settings: PollSettings, page: PageRead, candidate: Any) -> None:
        """Take a page's items, move on, and tell the partner."""
        pieces = chunks(page.items) or [[]]
        for n, piece in enumerate(pieces):
            owed: list[dict[str, Any]] = []
            if piece:
                answer = await session.take(piece)
                _explain(answer, page.problems, n * CHUNK)
                owed = owed_for(settings.acknowledge, answer, candidate)
            changes: dict[str, Any] = {"owed": owed} if settings.acknowledge else {}
            if n == len(pieces) - 1:
                changes |= _moved(settings, page, candidate)
            await session.save(**changes)
            await self._acknowledge(session, settings)

    async def _acknowledge(self, session: Session, settings: PollSettings) -> None:
        """Tell the partner what is owed. Raises: Failure; what was told is written before."""
        owed, wanted = list(session.source.get("owed") or ()), settings.acknowledge
        if not owed or isinstance(session, Trial):
            return
        while owed and wanted is not None:
            session.check()
            piece, rest = owed[:ACKNOWLEDGED_AT_ONCE], owed[ACKNOWLEDGED_AT_ONCE:]
            told = await asyncio.gather(*(self._tell(session, settings, wanted, one) for one in piece))
            failed = [one for one, outcome in zip(piece, told, strict=True) if isinstance(outcome, Failure)]
            refused = [outcome for outcome in told if isinstance(outcome, Refusal)]
            session.notes.acknowledged += len(piece) - len(failed) - len(refused)
            owed = failed + rest
            if failed or refused:
                await session.save(owed=owed, **await _given_up(session, refused))
            if failed:
                raise next(outcome for outcome in told if isinstance(outcome, Failure))
        await session.save(owed=[])

    async def _tell(
        self, session: Session, settings: PollSettings, wanted: Acknowledgement, values: Mapping[str, Any]
    ) -> Failure | Refusal | None:
        """One acknowledgement; why it failed for now or for ever, or none."""
        try:
            request = _ack_request(wanted, values)
            answer = await self._web.send(
                session, settings.auth, request, timeout_s=settings.request.timeout_s, size_bytes_max=ACK_SIZE_BYTES_MAX
            )
        except Failure as failure:
            return Failure(f"acknowledgement: {failure.message}", retry_after_s=failure.retry_after_s)
        if answer.status in ALREADY:
            session.notes.say(f"an acknowledgement was answered {answer.status}: taken as done")
            return None
        if 400 <= answer.status < 500 and answer.status not in FOR_NOW:
            return Refusal(values, answer.status)
        retry_after = answer.headers.get("retry-after")
        return status_failure("the acknowledgement", answer.status, retry_after=retry_after, now=now(), place={})


async def _given_up(session: Session, refused: Sequence[Refusal]) -> dict[str, Any]:
    """What is written of acknowledgements that the partner refuses for good: trying them again would keep everything
    after them away. Its tasks are stored; it may send them once more, and then they are told of once more."""
    if not refused:
        return {}
    session.notes.say(
        f"{len(refused)} acknowledgements were refused for good (answered {refused[0].status}) and are not repeated; "
        "look at the source's acknowledge settings, and tell the partner of the tasks listed as unacknowledged"
    )
    at, status = now(), refused[0].status
    event = event_document(
        EventKind.SOURCE_UNACKNOWLEDGED, id=f"{EventKind.SOURCE_UNACKNOWLEDGED}/{session.id}/{at:%Y%m%d}", at=at,
        service="collector", severity=Severity.WARNING, target=session.id, account=session.account,
        text=f"source {session.id}: its partner refuses acknowledgements for good (answered {status})",
        facts={"status": status},
    )  # fmt: skip
    await raise_event(session.store.mongo, event)  # before they are owed no more: a crash between tells again
    return {"unacknowledged": unacknowledged(session.source.get("unacknowledged") or (), refused, at)}


def _cursor(settings: PollSettings, source: Mapping[str, Any]) -> Any:
    if settings.cursor is None:
        return None
    kept = source.get("cursor")
    return settings.cursor.start if kept is None else kept


def _moved(settings: PollSettings, page: PageRead, candidate: Any) -> dict[str, Any]:
    """What a page that is taken changes: the place to go on at, and the cursor where it may move."""
    ended = page.next is None
    # With a cursor that moves after each page, a number or an offset means another page by then.
    counted = isinstance(settings.paging, PagePaging | OffsetPaging)
    stale = counted and settings.cursor is not None and settings.cursor.moves == "page"
    changes: dict[str, Any] = {"position": None}
    if not ended and not stale:
        changes["position"] = {"at": now(), "place": page.next, "candidate": candidate}
    if settings.cursor is not None and (ended or settings.cursor.moves == "page"):
        changes["cursor"] = candidate
    return changes


def _request(settings: PollSettings, place: Place, cursor: Any) -> Request:
    """The request for a page. Raises: Failure."""
    wanted, at = settings.request, now()
    values = {"cursor": cursor, "now": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "today": at.date().isoformat()}
    in_text = {**values, "cursor": "" if cursor is None else cursor}
    url = _url("request.url", place["url"] if "url" in place else fill_url(wanted.url, in_text))
    if "url" not in place:
        params = {name: text_of(fill(text, in_text)) for name, text in kept_params(settings, cursor).items()}
        params |= place_params(settings, place)
        url = url.copy_merge_params(params) if params else url
    headers = {name.lower(): text_of(fill(text, in_text)) for name, text in wanted.headers.items()}
    headers.setdefault("accept", "application/json")
    content = None
    if wanted.body is not None:
        headers.setdefault("content-type", "application/json")
        content = json.dumps(fill(wanted.body, values), ensure_ascii=False).encode()
    return Request(wanted.method, url, headers, content)


def _ack_request(wanted: Acknowledgement, values: Mapping[str, Any]) -> Request:
    filled = {**values, "now": now().strftime("%Y-%m-%dT%H:%M:%SZ")}
    url = _url("acknowledge.url", fill_url(wanted.url, filled))
    headers = {name.lower(): text_of(fill(text, filled)) for name, text in wanted.headers.items()}
    content = None
    if wanted.body is not None:
        headers.setdefault("content-type", "application/json")
        content = json.dumps(fill(wanted.body, filled), ensure_ascii=False).encode()
    return Request(wanted.method, url, headers, content)


def _url(what: str, text: str) -> httpx.URL:
    try:
        return checked_url(text)
    except Refused as error:
        raise Failure(f"{what}: {error.message}") from error


def _refuse(answer: Answer, place: Place) -> None:
    """Raises: Failure for an answer that is no page."""
    retry_after = answer.headers.get("retry-after")
    failure = status_failure(f"{answer.url.host}", answer.status, retry_after=retry_after, now=now(), place=place)
    if failure is not None:
        raise failure


def _link(answer: Answer) -> str | None:
    found = answer.headers.get_list("link")
    return ", ".join(found)[:20_000] if found else None


def _explain(answer: Mapping[str, Any], problems: Mapping[int, str], start: int) -> None:
    """Say of items that could not be mapped why, instead of what is missing in them."""
    for one in answer["rejected"]:
        problem = problems.get(start + one["index"])
        if problem is not None:
            one["errors"] = [{"code": "MALFORMED", "message": problem, "path": ""}]
