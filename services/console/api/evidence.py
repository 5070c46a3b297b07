"""The bytes of evidence: GET /api/v1/evidence/{id}.

They come from desktops and portals, so a browser is told to run nothing of them and to guess nothing about them.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import problems
from services.console.api.models import IdPath
from services.console.store import evidence as store

router = APIRouter(tags=["evidence"], responses=problems())

SHOWN_INLINE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "text/plain"})
_MEDIA_TYPE = re.compile(r"^[a-z]+/[a-z0-9.+-]+$")


@router.get(
    "/evidence/{link}",
    response_class=StreamingResponse,
    responses={200: {"description": "The bytes.", "content": {"*/*": {}}}},
)
async def get_evidence(link: IdPath, viewer: Reader, context: ContextOf) -> StreamingResponse:
    """The bytes of a piece of evidence, as they were taken."""
    blob = await store.open_evidence(context, viewer, link)
    media_type = blob.media_type if _MEDIA_TYPE.match(blob.media_type) else "application/octet-stream"
    disposition = "inline" if media_type in SHOWN_INLINE else "attachment"
    headers = {
        "Content-Length": str(blob.size_bytes),
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(blob.name)}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=3600, immutable",
        "ETag": f'"{blob.sha256}"',
    }
    return StreamingResponse(blob.chunks, media_type=media_type, headers=headers)
