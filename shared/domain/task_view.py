"""The one shape in which a partner sees a task: over HTTP, in webhooks and in the results feed.

Called by: collector (GET of tasks), delivery (bodies, made once and stored), console (what a partner sees). Pure: the
document goes in, JSON-ready values come out. Change also: ARCHITECTURE.md (the result body),
`services/collector/schemas.py` (the same shape as OpenAPI), the demo's partner. Changes only ever add fields:
partners read this for years.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

EVENT_PREFIX = "task."
_OTHER_TYPES = {"decision": "decision.asked", "test": "endpoint.test"}
EVIDENCE_PURPOSE = "evidence-link"
"""What the token of a piece of evidence's link derives for (shared.seal); its context is the evidence's id."""


def task_view(task: Mapping[str, Any], *, collector_url: str, why_waiting: str | None = None) -> dict[str, Any]:
    """A task as its partner sees it.

    task: the document from `tasks`. collector_url: where `/v1/evidence/{id}` is served, without a slash at the end.
    why_waiting: for a task that waits in the queue, why; else none.
    Returns: values that json.dumps takes.
    """
    result = task.get("result")
    return {
        "id": task["_id"],
        "reference": task["reference"],
        "workflow": task["workflow"],
        "batch": task.get("batch"),
        "state": str(task["state"]),
        "priority": task.get("priority"),
        "attempts": task.get("attempts", 0),
        "created_at": moment(task.get("created_at")),
        "finished_at": moment(task.get("finished_at")),
        "result": result.get("output") if result else None,
        "error": _error(task.get("error")),
        "evidence": [_evidence(item, collector_url) for item in task.get("evidence") or ()],
        "hold": _hold(task.get("hold")),
        "why_waiting": why_waiting,
    }


def event_type(event: str) -> str:
    """The `type` of a webhook for an event such as `succeeded`."""
    return _OTHER_TYPES.get(event) or f"{EVENT_PREFIX}{event}"


def with_evidence(
    view: Mapping[str, Any], *, token_of: Callable[[str], str], contents: Mapping[str, str]
) -> dict[str, Any]:
    """A task as a webhook shows it: the links of its evidence need no key.

    token_of: the token of a piece of evidence, by its id. contents: bytes in base64 that come along, by id.
    """
    shown = []
    for item in view["evidence"]:
        linked = {**item, "url": f"{item['url']}?token={token_of(item['id'])}"}
        shown.append({**linked, "content": contents[item["id"]]} if item["id"] in contents else linked)
    return {**view, "evidence": shown}


def event_body(event: str, *, at: datetime, view: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook says: the event, when it was noticed, and the task."""
    return {"type": event_type(event), "timestamp": moment(at), "data": dict(view)}


def moment(at: datetime | None) -> str | None:
    """A time as partners read it: ISO 8601, UTC, milliseconds, `Z`."""
    if at is None:
        return None
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Only what a partner can use: no traceback, no lines of the script."""
    if not error:
        return None
    return {key: error.get(key) for key in ("kind", "code", "message")}


def _hold(hold: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {key: hold.get(key) for key in ("reason", "text")} if hold else None


def _evidence(item: Mapping[str, Any], collector_url: str) -> dict[str, Any]:
    return {
        "id": item["id"],
        "name": item.get("name"),
        "media_type": item.get("media_type"),
        "size_bytes": item.get("size_bytes"),
        "sha256": item.get("sha256"),
        "url": f"{collector_url.rstrip('/')}/v1/evidence/{item['id']}",
    }
