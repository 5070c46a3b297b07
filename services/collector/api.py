"""The partners' HTTP API: pushes, tasks, batches, evidence.

Called by: main.py. Everything is of the key's own account: another account's id is answered 404, as if it did not
exist. Survives a crash: a DELETE's request is a document in `commands`. Change also: schemas.py, README.md,
ARCHITECTURE.md (HTTP).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.collector import schemas
from services.collector.config import PAGE_DEFAULT, PAGE_MAX, CollectorSettings
from services.collector.core.items import REFERENCE_LENGTH_MAX
from services.collector.intake import Intake, Sender
from services.collector.schemas import WORKFLOW_LENGTH_MAX, problems
from services.collector.store import CollectorStore
from shared.broker import Broker
from shared.domain.task_state import FINAL, TaskState
from shared.domain.task_view import moment, task_view
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.waiting import why_waiting
from shared.runtime.auth import Partner, partner_key
from shared.runtime.commands import issue, wait
from shared.runtime.http import Problem, decode_cursor, encode_cursor, paged

SCOPE = "tasks"
INLINE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"})
ID = Annotated[str, Path(min_length=1, max_length=100, description="As it was given.")]
Caller = Annotated[Partner, Depends(partner_key(SCOPE))]
EXISTS = problems(401, 403, 404, 422, 503)


@dataclass(frozen=True)
class Context:
    """What the routes work with."""

    mongo: Mongo
    broker: Broker
    store: CollectorStore
    intake: Intake
    settings: CollectorSettings


def _context(request: Request) -> Context:
    found: Context = request.app.state.collector
    return found


Here = Annotated[Context, Depends(_context)]


def api_router() -> APIRouter:
    """All routes."""
    router = APIRouter()
    push_errors = problems(400, 401, 403, 404, 409, 413, 422, 503)
    push_body = {"required": True, "content": {"application/json": {"schema": schemas.PUSH_SCHEMA}}}
    router.add_api_route(
        "/v1/tasks",
        push_tasks,
        methods=["POST"],
        status_code=202,
        responses={202: {"model": schemas.PushAnswer, "description": "What became of each item."}, **push_errors},
        openapi_extra={"requestBody": push_body},
    )
    router.add_api_route(
        "/v1/tasks",
        list_tasks,
        methods=["GET"],
        responses={200: {"model": schemas.TaskList}, **problems(400, 401, 403, 422, 503)},
    )
    router.add_api_route(
        "/v1/tasks/{id}", get_task, methods=["GET"], responses={200: {"model": schemas.TaskView}, **EXISTS}
    )
    router.add_api_route(
        "/v1/tasks/{id}",
        cancel_task,
        methods=["DELETE"],
        responses={
            200: {"model": schemas.TaskView, "description": "It is cancelled."},
            202: {"model": schemas.TaskView, "description": "It ends at its next instruction."},
            **problems(409),
            **EXISTS,
        },
    )
    router.add_api_route(
        "/v1/batches/{id}", get_batch, methods=["GET"], responses={200: {"model": schemas.BatchView}, **EXISTS}
    )
    bytes_answer = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "The bytes."}
    router.add_api_route(
        "/v1/evidence/{id}",
        get_evidence,
        methods=["GET"],
        response_class=Response,
        responses={200: bytes_answer, 304: {"description": "The client has it."}, **EXISTS},
    )
    return router


async def push_tasks(request: Request, caller: Caller, here: Here) -> JSONResponse:
    """Hand tasks in. Each bad item is refused by itself; the good ones are taken."""
    sender = Sender(caller.account, caller.partner)
    answer = await here.intake.push(sender, await request.body(), request.headers.get("traceparent"))
    return JSONResponse(answer, status_code=202)


async def list_tasks(
    request: Request,
    caller: Caller,
    here: Here,
    reference: Annotated[str | None, Query(min_length=1, max_length=REFERENCE_LENGTH_MAX)] = None,
    state: Annotated[TaskState | None, Query()] = None,
    workflow: Annotated[str | None, Query(min_length=1, max_length=WORKFLOW_LENGTH_MAX)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """The account's tasks, newest first."""
    filters: dict[str, Any] = {}
    if state is not None:
        filters["state"] = state.value
    if workflow is not None:
        filters["workflow"] = workflow
    if reference is not None:
        filters["reference"] = reference
        if workflow is None:
            # Names the workflows, so that the unique index (account, workflow, reference) finds it.
            filters["workflow"] = {"$in": await here.store.workflow_names(caller.account)}
    found = await here.store.tasks(caller.account, filters, before=_position(cursor), limit=limit + 1)
    items = [task_view(task, collector_url=here.settings.collector_url) for task in found[:limit]]
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        following = encode_cursor({"at": moment(last["created_at"]), "id": last["_id"]})
    return paged(request, items, following)


async def get_task(id: ID, caller: Caller, here: Here) -> JSONResponse:
    """One task: its state, why it waits, its result."""
    return JSONResponse(await _view(here, await _task(here, caller, id)))


async def cancel_task(id: ID, caller: Caller, here: Here) -> JSONResponse:
    """Cancel a task. One that runs ends at its next instruction; a final one can't be cancelled (409)."""
    task = await _task(here, caller, id)
    _refuse_final(task)
    by = f"partner {caller.account}/{caller.partner}"
    command = await issue(
        here.mongo, here.broker, kind="task.cancel", to="scheduler", target=id, args={"account": caller.account}, by=by
    )
    ended = await wait(here.mongo, command, here.settings.cancel_wait_s)
    task = await _task(here, caller, id)
    if task["state"] == TaskState.CANCELLED:
        return JSONResponse(await _view(here, task))
    _refuse_final(task)
    if ended.get("state") == "refused":
        raise Problem(409, ErrorCode.CONFLICT, ended.get("reason") or "it can't be cancelled now")
    return JSONResponse(await _view(here, task), status_code=202)


async def get_batch(id: ID, caller: Caller, here: Here) -> JSONResponse:
    """A push and where its tasks stand."""
    batch = await here.store.batch(caller.account, id)
    if batch is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such batch in this account")
    states = await here.store.batch_states(id)
    return JSONResponse(
        {
            "id": id,
            "workflow": batch["workflow"],
            "created_at": moment(batch["created_at"]),
            "count": batch["count"],
            "rejected": batch["rejected"],
            "duplicates": batch.get("duplicates", 0),
            "states": {state.value: states.get(state.value, 0) for state in TaskState},
        }
    )


async def get_evidence(id: ID, request: Request, caller: Caller, here: Here) -> Response:
    """The bytes of a piece of evidence."""
    link = await here.store.evidence_link(caller.account, id)
    if link is None or link.get("dropped"):
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such evidence in this account")
    headers = _evidence_headers(link)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": headers["ETag"]})
    chunks = await here.store.open_evidence(link["sha256"])
    if chunks is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "the bytes of this evidence are not stored any more")
    return StreamingResponse(chunks, media_type=link["media_type"], headers=headers)


def _evidence_headers(link: Mapping[str, Any]) -> dict[str, str]:
    """Headers of evidence. Nothing a browser would run is shown inline."""
    name = str(link.get("name") or link["_id"])
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)[:100]
    place = "inline" if link["media_type"].split(";")[0] in INLINE_TYPES else "attachment"
    return {
        "ETag": f'"{link["sha256"]}"',
        "Content-Length": str(link["size_bytes"]),
        "Content-Disposition": f"{place}; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:100], safe='')}",
        "Cache-Control": "private, max-age=86400, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


async def _task(here: Context, caller: Partner, id: str) -> dict[str, Any]:
    task = await here.store.task(caller.account, id)
    if task is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such task in this account")
    return task


def _refuse_final(task: Mapping[str, Any]) -> None:
    if task["state"] in FINAL:
        raise Problem(409, ErrorCode.FINAL, f"the task is {task['state']} and can't be cancelled")


async def _view(here: Context, task: Mapping[str, Any]) -> dict[str, Any]:
    why = await why_waiting(here.mongo, task) if task["state"] == TaskState.QUEUED else None
    return task_view(task, collector_url=here.settings.collector_url, why_waiting=why)


def _position(cursor: str | None) -> tuple[datetime, str] | None:
    """Where a page begins.

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
