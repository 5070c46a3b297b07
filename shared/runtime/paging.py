"""Lists in pages: opaque cursors, and the header Link with rel="next" (RFC 8288).

Called by: routes that list, through shared.runtime.http. Survives a crash: cursors hold all they need, so they stay
good over restarts. Change also: nothing. A cursor is checked for form only: what is in it must be checked by who
reads it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, overload

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from starlette.datastructures import URL

from shared.errors import ErrorCode
from shared.runtime.problems import Problem

CURSOR_LENGTH_MAX = 2_000

current_url: ContextVar[URL | None] = ContextVar("current_url", default=None)
"""Address of the request in hand; shared.runtime.http sets it."""


def encode_cursor(position: Any) -> str:
    """A position (any JSON value) as an opaque text for a URL."""
    packed = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> Any:
    """The position in a cursor.

    Raises: Problem 400 when it was not made by encode_cursor.
    """
    try:
        if not cursor or len(cursor) > CURSOR_LENGTH_MAX:
            raise ValueError("length")
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return json.loads(packed.decode())
    except (ValueError, binascii.Error, RecursionError) as error:
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one") from error


@overload
def paged(on: Request, items: Iterable[Any], next_cursor: str | None) -> JSONResponse: ...
@overload
def paged(on: Response, items: Iterable[Any], next_cursor: str | None) -> dict[str, Any]: ...
def paged(on: Request | Response, items: Iterable[Any], next_cursor: str | None) -> JSONResponse | dict[str, Any]:
    """A page: {items, next}, and the header Link when there is another.

    on: the injected Response, which gets the header (then this returns the body), or the Request (then it returns the
    whole answer).
    """
    body = {"items": list(items), "next": next_cursor}
    if isinstance(on, Response):
        _link(on, current_url.get(), next_cursor)
        return body
    answer = JSONResponse(jsonable_encoder(body))
    _link(answer, on.url, next_cursor)
    return answer


def _link(response: Response, url: URL | None, next_cursor: str | None) -> None:
    if url is not None and next_cursor is not None:
        response.headers["Link"] = f'<{url.include_query_params(cursor=next_cursor)}>; rel="next"'
