"""Every call of the API as data: what is sent, and how the answer is read. The sync and the async client share them.

Change also: client.py and aio.py (a method for each), README.md.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from regente_client.models import Batch, Endpoint, File, NewTask, Page, Pushed, Task

ITEMS_MAX = 10_000
BODY_SIZE_BYTES_MAX = 16 * 1024 * 1024
LINES_FROM_BYTES = 256 * 1024
"""A push of this size goes as newline-delimited JSON, which the service takes in while it arrives."""
FRAME_SIZE_BYTES = 1024
"""Kept free in a body for what stands around the items."""
COLLECTOR, DELIVERY = "collector", "delivery"
T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One logical call; every attempt sends exactly this."""

    service: str
    method: str
    path: str
    read: Callable[[bytes], T] = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    waits_s: float = 0.0
    """How long the service may hold the request open on purpose."""


@dataclass(frozen=True)
class Chunk:
    """Items of a push that go in one request."""

    offset: int
    items: tuple[bytes, ...]


def chunks(tasks: Iterable[NewTask | Mapping[str, Any]], items_max: int) -> Iterator[Chunk]:
    """Split a push into requests that the service takes, in order, reading no further ahead than one request.

    Raises: ValueError for an items_max that the service would refuse.
    """
    if not 1 <= items_max <= ITEMS_MAX:
        raise ValueError(f"a request takes 1 to {ITEMS_MAX} tasks")
    items: list[bytes] = []
    size, offset, room = 0, 0, BODY_SIZE_BYTES_MAX - FRAME_SIZE_BYTES
    for task in tasks:
        data = packed(task.as_json() if isinstance(task, NewTask) else task)
        if items and (len(items) == items_max or size + len(data) + 1 > room):
            yield Chunk(offset, tuple(items))
            offset, size, items = offset + len(items), 0, []
        items.append(data)
        size += len(data) + 1
    if items:
        yield Chunk(offset, tuple(items))


def packed(value: Any) -> bytes:
    """As JSON. Raises: ValueError for NaN and infinity, which JSON has not."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def push(workflow: str, chunk: Chunk, key: str | None) -> Call[Pushed]:
    """Hand tasks in. key: of the whole push; each request of it gets one of its own."""
    chosen = None if key is None else f"{key}-{chunk.offset}" if chunk.offset else key

    def read(body: bytes) -> Pushed:
        return Pushed.of(json.loads(body), chunk.offset)

    if sum(map(len, chunk.items)) >= LINES_FROM_BYTES:
        headers = {"Content-Type": "application/x-ndjson", **_once(chosen)}
        lines = b"\n".join((*chunk.items, b""))
        return Call(COLLECTOR, "POST", "/v1/tasks", read, {"workflow": workflow}, headers, lines)
    content = b"".join((b'{"workflow":', packed(workflow), b',"tasks":[', b",".join(chunk.items), b"]}"))
    return Call(COLLECTOR, "POST", "/v1/tasks", read, headers={**_json(), **_once(chosen)}, content=content)


def task(id: str) -> Call[Task]:
    """One task."""
    return Call(COLLECTOR, "GET", f"/v1/tasks/{_part(id)}", _task)


def tasks(filters: Mapping[str, str | None], limit: int, cursor: str | None) -> Call[tuple[list[Task], str | None]]:
    """A page of tasks, newest first, and the cursor of the next page."""
    params = _params({**filters, "limit": str(limit), "cursor": cursor})
    return Call(COLLECTOR, "GET", "/v1/tasks", _list_of(Task.of), params)


def cancel(id: str) -> Call[Task]:
    """Call a task off."""
    return Call(COLLECTOR, "DELETE", f"/v1/tasks/{_part(id)}", _task, headers=_once())


def batch(id: str) -> Call[Batch]:
    """One request of a push."""
    return Call(COLLECTOR, "GET", f"/v1/batches/{_part(id)}", lambda body: Batch.of(json.loads(body)))


def upload(name: str, data: bytes, media_type: str, key: str | None) -> Call[File]:
    """Store a file."""
    headers = {"Content-Type": media_type, **_once(key)}
    return Call(COLLECTOR, "POST", "/v1/files", lambda body: File.of(json.loads(body)), {"name": name}, headers, data)


def file(id: str) -> Call[bytes]:
    """The bytes of an uploaded file."""
    return Call(COLLECTOR, "GET", f"/v1/files/{_part(id)}", bytes)


def evidence(id: str) -> Call[bytes]:
    """The bytes of a piece of evidence."""
    return Call(COLLECTOR, "GET", f"/v1/evidence/{_part(id)}", bytes)


def results(after: str | None, reader: str | None, limit: int, wait_s: float) -> Call[tuple[Page, bool]]:
    """A part of the results feed, and whether there is more at once."""
    wait = f"{wait_s:g}" if wait_s else None
    params = _params({"after": after, "reader": None if after else reader, "limit": str(limit), "wait": wait})

    def read(body: bytes) -> tuple[Page, bool]:
        value = json.loads(body)
        page = Page(tuple(Task.of(item) for item in value["items"]), value.get("after"))
        return page, value.get("next") is not None

    return Call(DELIVERY, "GET", "/v1/results", read, params, waits_s=wait_s)


def acknowledge(after: str, reader: str) -> Call[None]:
    """Keep a reader's position."""
    content = packed({"after": after, "name": reader})
    return Call(DELIVERY, "POST", "/v1/results/ack", lambda body: None, headers={**_json(), **_once()}, content=content)


def put_endpoint(name: str, fields: Mapping[str, Any]) -> Call[Endpoint]:
    """Make or change an endpoint."""
    content = packed({key: value for key, value in fields.items() if value is not None})
    return Call(
        DELIVERY, "PUT", f"/v1/endpoints/{_part(name)}", lambda body: Endpoint.of(json.loads(body)),
        headers={**_json(), **_once()}, content=content,
    )  # fmt: skip


def endpoints(limit: int, cursor: str | None) -> Call[tuple[list[Endpoint], str | None]]:
    """A page of endpoints by name, and the cursor of the next page."""
    params = _params({"limit": str(limit), "cursor": cursor})
    return Call(DELIVERY, "GET", "/v1/endpoints", _list_of(Endpoint.of), params)


def delete_endpoint(name: str) -> Call[None]:
    """Remove an endpoint."""
    return Call(DELIVERY, "DELETE", f"/v1/endpoints/{_part(name)}", lambda body: None, headers=_once())


def _task(body: bytes) -> Task:
    return Task.of(json.loads(body))


def _list_of(read: Callable[[Mapping[str, Any]], T]) -> Callable[[bytes], tuple[list[T], str | None]]:
    def page(body: bytes) -> tuple[list[T], str | None]:
        value = json.loads(body)
        return [read(item) for item in value["items"]], value.get("next")

    return page


def _params(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _part(text: str) -> str:
    """A text as one part of a path. Raises: ValueError for an empty one, which would ask for something else."""
    if not text or text in (".", ".."):
        raise ValueError("an id or name is needed")
    return quote(text, safe="")


def _json() -> dict[str, str]:
    return {"Content-Type": "application/json"}


def _once(key: str | None = None) -> dict[str, str]:
    """The header that makes all attempts of a call one."""
    return {"Idempotency-Key": key or str(uuid.uuid4())}
