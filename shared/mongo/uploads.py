"""The rows of an upload, in chunks that fit a document: what the preview shows, and the items that become tasks.

Called by: console (writes them, shows them), collector (reads the items when the upload was confirmed). Owns nothing:
`upload_rows` is the console's. Survives a crash: chunks have ids that follow from the upload's; they go by themselves
(TTL), an hour after the upload. Change also: ARCHITECTURE.md (uploads, upload_rows).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.mongo import Mongo
from shared.mongo.guarded import insert_once

ROWS_MAX = 10_000
CHUNK_ROWS_MAX = 500
CHUNK_BYTES_MAX = 4 * 1024 * 1024
OUTLIVE = timedelta(hours=1)
"""Rows stay so much longer than their upload, so that one that is confirmed in its last second is whole."""


async def put_rows(
    mongo: Mongo, upload: str, rows: Sequence[Mapping[str, Any]], items: Mapping[int, Mapping[str, Any]],
    expires_at: datetime,
) -> int:  # fmt: skip
    """Store an upload's rows; how many chunks they make.

    rows: each as the preview shows it. items: by the rows' places in `rows`; only those that may become tasks.
    Raises: TemporaryError.
    """
    count = 0
    for count, (first, chunk, texts) in enumerate(_chunks(rows, items), start=1):
        document = {
            "_id": chunk_id(upload, count),
            "schema_version": 1,
            "upload": upload,
            "first": first,
            "rows": chunk,
            "items": f"[{','.join(texts)}]",
            "expires_at": expires_at + OUTLIVE,
        }
        await insert_once(mongo["upload_rows"], document)
    return count


async def keep_rows(mongo: Mongo, upload: str, until: datetime) -> None:
    """Keep an upload's rows for longer."""
    await mongo["upload_rows"].update_many(_chunks_of(upload), {"$max": {"expires_at": until + OUTLIVE}})


def _chunks_of(upload: str) -> dict[str, Any]:
    return {"_id": {"$gt": f"{upload}/", "$lt": f"{upload}0"}}


def chunk_id(upload: str, number: int) -> str:
    """The id of an upload's chunk; `number` from 1."""
    return f"{upload}/{number:05d}"


def _chunks(
    rows: Sequence[Mapping[str, Any]], items: Mapping[int, Mapping[str, Any]]
) -> Iterator[tuple[int, list[Mapping[str, Any]], list[str]]]:
    """Place of the first row, rows, and their items as JSON."""
    first, size = 0, 0
    chunk: list[Mapping[str, Any]] = []
    texts: list[str] = []
    for place, row in enumerate(rows):
        text = json.dumps(items[place], ensure_ascii=False, separators=(",", ":")) if place in items else None
        more = len(text.encode()) if text is not None else 0
        if chunk and (len(chunk) >= CHUNK_ROWS_MAX or size + more > CHUNK_BYTES_MAX):
            yield first, chunk, texts
            first, chunk, texts, size = place, [], [], 0
        chunk.append(row)
        size += more
        if text is not None:
            texts.append(text)
    if chunk:
        yield first, chunk, texts


async def read_rows(
    mongo: Mongo, upload: str, *, after: int, limit: int, verdict: str | None = None
) -> list[tuple[int, dict[str, Any]]]:
    """Rows as the preview shows them, with their places, from the place `after` on (0: from the first).

    verdict: only rows of which this was said.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    query = {**_chunks_of(upload), "first": {"$gt": after - CHUNK_ROWS_MAX}}
    async for document in mongo["upload_rows"].find(query, {"items": 0}).sort("_id", 1):
        rows = enumerate(document["rows"], start=document["first"])
        found += [(at, row) for at, row in rows if at >= after and verdict in (None, row["verdict"])]
        if len(found) >= limit:
            break
    return found[:limit]


async def read_items(mongo: Mongo, upload: str) -> list[Any] | None:
    """What of a confirmed upload becomes tasks; none when it isn't there as a whole any more."""
    head = await mongo["uploads"].find_one({"_id": upload}, {"chunks": 1})
    if head is None:
        return None
    ids = [chunk_id(upload, number) for number in range(1, head["chunks"] + 1)]
    items: list[Any] = []
    async for document in mongo["upload_rows"].find({"_id": {"$in": ids}}, {"items": 1}).sort("_id", 1):
        ids.remove(document["_id"])
        items += json.loads(document["items"])
    return None if ids else items
