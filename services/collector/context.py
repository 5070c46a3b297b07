"""What the routes of the collector work with, and what several of them share.

Called by: main.py makes one Context; api*.py. Survives a crash: nothing lives here. Change also: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Path, Request

from services.collector.claims import Claims
from services.collector.config import CollectorSettings
from services.collector.intake import Intake
from services.collector.store import CollectorStore
from shared.broker import Broker
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.files import Files
from shared.runtime.auth import Partner, partner_key
from shared.runtime.http import Problem, decode_cursor
from shared.runtime.openapi import partner_problems

SCOPE = "tasks"
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})


@dataclass(frozen=True)
class Context:
    """What the routes work with."""

    mongo: Mongo
    broker: Broker
    store: CollectorStore
    intake: Intake
    claims: Claims
    files: Files
    settings: CollectorSettings


def _context(request: Request) -> Context:
    found: Context = request.app.state.collector
    return found


Here = Annotated[Context, Depends(_context)]
ID = Annotated[str, Path(min_length=1, max_length=100, description="As it was given.")]
Caller = Annotated[Partner, Depends(partner_key(SCOPE))]
Pusher = Annotated[Partner, Depends(partner_key(SCOPE, replays=True))]
"""Whose request with a webhook-id that was used before is answered as the first was (claims.py)."""
EXISTS = partner_problems(404)


def position(cursor: str | None) -> tuple[datetime, str] | None:
    """Where a page begins: the time and id of the last thing of the page before.

    Raises: Problem 400 for a cursor that this service did not make.
    """
    if cursor is None:
        return None
    value = decode_cursor(cursor)
    try:
        at, id = datetime.fromisoformat(value["at"]).astimezone(UTC), value["id"]
        if not isinstance(id, str) or not id.isascii():
            raise ValueError("id")
        return at, id
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one") from error


def bytes_headers(document: Mapping[str, Any]) -> dict[str, str]:
    """Headers of stored bytes (name, media_type, size_bytes, sha256). Nothing a browser would run is shown inline."""
    name = str(document.get("name") or document["_id"])
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)[:100]
    place = "inline" if document["media_type"].split(";")[0] in INLINE_TYPES else "attachment"
    return {
        "ETag": f'"{document["sha256"]}"',
        "Content-Length": str(document["size_bytes"]),
        "Content-Disposition": f"{place}; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:100], safe='')}",
        "Cache-Control": "private, max-age=86400, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
