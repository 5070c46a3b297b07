"""How lists, actions and errors are answered, the same for every resource.

Called by: every module of api. Source: RFC 9457 (problem details), RFC 8288 (Link).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from fastapi import Response

from services.console.api.models import Action, Page
from services.console.store.commands import Asked
from shared.runtime.http import Problem, decode_cursor, encode_cursor, paged
from shared.runtime.openapi import problem_responses

T = TypeVar("T")


_WORDS = {
    400: "The body or the cursor can't be read.",
    401: "Nobody is logged in.",
    403: "The user's role or accounts do not allow it.",
    404: "It does not exist, or belongs to an account that the user doesn't see.",
    405: "The method is not possible here.",
    409: "Its state does not allow it.",
    413: "The body is too large.",
    422: "The input is wrong; `errors` says what.",
    429: "Too many; try again later.",
    503: "The database or the broker does not answer; try again.",
}
_ALWAYS = (400, 401, 403, 404, 413, 422, 429, 503)


def problems(*more: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the problems that any may answer, and `more`."""
    return problem_responses(_WORDS, *_ALWAYS, *more)


def page(response: Response, items: Sequence[T], cursor: str | None) -> Page[T]:
    """A page, with the header Link when there is another."""
    paged(response, items, cursor)
    return Page(items=list(items), next=cursor)


def page_of(response: Response, items: Iterable[T], ids: Sequence[str], limit: int, cursor: str | None) -> Page[T]:
    """A page of a list that is at hand as a whole; `ids` are its items' ids, by which it is sorted."""
    rows = sorted(zip(ids, items, strict=True), key=lambda row: row[0])
    if cursor is not None:
        after = str(decode_cursor(cursor))
        rows = [row for row in rows if row[0] > after]
    shown = rows[:limit]
    following = str(encode_cursor(shown[-1][0])) if len(rows) > limit else None
    return page(response, [item for _, item in shown], following)


def action(response: Response, asked: Asked) -> Action:
    """200 when it is done, 202 while its owner has not answered; 409 when the owner refused."""
    if asked.state == "refused":
        raise Problem(409, asked.reason or "refused", code="CONFLICT", command=asked.command)
    response.status_code = 200 if asked.state == "done" else 202
    return Action.of(asked)
