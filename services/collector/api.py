"""The partners' HTTP API: tasks and evidence here, pushes, batches and files beside it.

Called by: main.py. Everything is of the key's own account: another account's id is answered 404, as if it did not
exist. Survives a crash: a DELETE's request is a document in `commands`. Change also: schemas.py, README.md,
ARCHITECTURE.md (HTTP).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.collector import api_batches, api_files, api_push, schemas
from services.collector.config import PAGE_DEFAULT, PAGE_MAX
from services.collector.context import EXISTS, ID, Caller, Context, Here, bytes_headers, position
from services.collector.schemas import WORKFLOW_LENGTH_MAX
from shared.domain.task_state import FINAL, TaskState
from shared.domain.task_view import moment, task_view
from shared.errors import ErrorCode
from shared.intake.items import REFERENCE_LENGTH_MAX
from shared.mongo.waiting import why_waiting
from shared.runtime.auth import Partner
from shared.runtime.commands import issue, wait
from shared.runtime.http import Problem, encode_cursor, paged
from shared.runtime.openapi import partner_problems


def api_router() -> APIRouter:
    """All routes."""
    router = APIRouter()
    api_push.add_routes(router)
    router.add_api_route(
        "/v1/tasks",
        list_tasks,
        methods=["GET"],
        responses={200: {"model": schemas.TaskList}, **partner_problems(400)},
    )
    router.add_api_route(
        "/v1/tasks/{id}",
        get_task,
        methods=["GET"],
        responses={200: {"model": schemas.TaskView}, **partner_problems(410), **EXISTS},
    )
    router.add_api_route(
        "/v1/tasks/{id}",
        cancel_task,
        methods=["DELETE"],
        responses={
            200: {"model": schemas.TaskView, "description": "It is cancelled."},
            202: {"model": schemas.TaskView, "description": "It ends at its next instruction."},
            **partner_problems(409, 410),
            **EXISTS,
        },
    )
    api_batches.add_routes(router)
    api_files.add_routes(router)
    router.add_api_route(
        "/v1/evidence/{id}",
        get_evidence,
        methods=["GET"],
        response_class=Response,
        responses={200: schemas.BYTES_ANSWER, 304: {"description": "The client has it."}, **EXISTS},
    )
    return router


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
    found = await here.store.tasks(caller.account, filters, before=position(cursor), limit=limit + 1)
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


async def get_evidence(id: ID, request: Request, caller: Caller, here: Here) -> Response:
    """The bytes of a piece of evidence. The links in webhooks hold a token instead of asking for a key."""
    return await evidence_answer(here, request, await here.store.evidence_link(caller.account, id))


async def evidence_answer(here: Context, request: Request, link: Mapping[str, Any] | None) -> Response:
    """The bytes behind a link. Raises: Problem 404."""
    if link is None or link.get("dropped"):
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such evidence in this account")
    headers = bytes_headers(link)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": headers["ETag"]})
    chunks = await here.store.open_evidence(link["sha256"])
    if chunks is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "the bytes of this evidence are not stored any more")
    return StreamingResponse(chunks, media_type=link["media_type"], headers=headers)


async def _task(here: Context, caller: Partner, id: str) -> dict[str, Any]:
    task = await here.store.task(caller.account, id)
    if task is None:
        if gone := await here.store.gone(caller.account, id):
            text = f"this task was {gone['state']} and deleted after its time; its reference stays taken"
            raise Problem(410, ErrorCode.GONE, text)
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such task in this account")
    return task


def _refuse_final(task: Mapping[str, Any]) -> None:
    if task["state"] in FINAL:
        raise Problem(409, ErrorCode.FINAL, f"the task is {task['state']} and can't be cancelled")


async def _view(here: Context, task: Mapping[str, Any]) -> dict[str, Any]:
    why = await why_waiting(here.mongo, task) if task["state"] == TaskState.QUEUED else None
    return task_view(task, collector_url=here.settings.collector_url, why_waiting=why)
