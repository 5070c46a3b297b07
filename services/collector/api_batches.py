"""GET /v1/batches and /v1/batches/{id}: pushes, and where their tasks stand.

Called by: api.py. Reads only. A batch's figures of items are written by the push (taking.py); those of tasks are
counted when asked, so they are never behind.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from services.collector import schemas
from services.collector.context import EXISTS, ID, Caller, Here, position
from services.collector.core.batches import batch_view
from services.collector.core.body import WORKFLOW_LENGTH_MAX
from shared.domain.task_view import moment
from shared.errors import ErrorCode
from shared.runtime.http import Problem, encode_cursor, paged
from shared.runtime.openapi import partner_problems

PAGE_MAX = 50
"""Every batch of a page is counted over its tasks: 10,000 each."""
PAGE_DEFAULT = 20


def add_routes(router: APIRouter) -> None:
    """The routes of batches."""
    router.add_api_route(
        "/v1/batches",
        list_batches,
        methods=["GET"],
        responses={200: {"model": schemas.BatchList}, **partner_problems(400)},
    )
    router.add_api_route(
        "/v1/batches/{id}", get_batch, methods=["GET"], responses={200: {"model": schemas.BatchView}, **EXISTS}
    )


async def list_batches(
    request: Request,
    caller: Caller,
    here: Here,
    workflow: Annotated[str | None, Query(min_length=1, max_length=WORKFLOW_LENGTH_MAX)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """The account's batches, newest first, with their progress."""
    found = await here.store.batches(caller.account, workflow, before=position(cursor), limit=limit + 1)
    shown = found[:limit]
    ids = [batch["_id"] for batch in shown]
    states, buried = await here.store.batch_states(ids), await here.store.batch_buried(ids)
    items = [batch_view(one, states.get(one["_id"], {}), buried.get(one["_id"], 0)) for one in shown]
    following = None
    if len(found) > limit:
        last = shown[-1]
        following = encode_cursor({"at": moment(last["created_at"]), "id": last["_id"]})
    return paged(request, items, following)


async def get_batch(id: ID, caller: Caller, here: Here) -> JSONResponse:
    """A push and where its tasks stand."""
    batch = await here.store.batch(caller.account, id)
    if batch is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such batch in this account")
    states, buried = await here.store.batch_states([id]), await here.store.batch_buried([id])
    return JSONResponse(batch_view(batch, states.get(id, {}), buried.get(id, 0)))
