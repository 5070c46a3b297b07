"""POST /v1/tasks: a push as one JSON object or as newline-delimited JSON, with or without an Idempotency-Key.

Called by: api.py. Survives a crash: see intake.py, streaming.py and claims.py. Change also: schemas.py, README.md,
docs/adr/0020.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from services.collector import schemas
from services.collector.claims import Claim, Reply
from services.collector.context import Context, Here, Pusher
from services.collector.core.body import WORKFLOW_LENGTH_MAX, media_kind
from services.collector.core.idempotency import BadKey, claim_id, fingerprint, read_key
from services.collector.intake import Sender
from services.collector.streaming import StreamedPush, with_deadline
from shared.errors import ErrorCode
from shared.runtime.auth import Partner
from shared.runtime.http import Problem
from shared.runtime.openapi import partner_problems

REPLAYED = "Idempotency-Replayed"
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Yours, new for every new request: the same request again gets the first answer, "
        f"with `{REPLAYED}: true`. 1 to 255 visible ASCII characters, bare or in double quotes.",
        json_schema_extra={"pattern": r'^([!#-~]{1,255}|"[ !#-~]{1,255}")$'},  # read_key refuses the rest with 400
    ),
]


def add_routes(router: APIRouter) -> None:
    """The route of pushes."""
    content: dict[str, Any] = {
        "application/json": {"schema": schemas.PUSH_SCHEMA},
        "application/x-ndjson": {"schema": schemas.NDJSON_SCHEMA},
    }
    router.add_api_route(
        "/v1/tasks",
        push_tasks,
        methods=["POST"],
        status_code=202,
        responses={
            202: {
                "model": schemas.PushAnswer,
                "description": "What became of each item.",
                "headers": {REPLAYED: schemas.REPLAYED_HEADER},
            },
            **partner_problems(400, 404, 408, 409, 413, 415),
        },
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )


async def push_tasks(
    request: Request,
    caller: Pusher,
    here: Here,
    workflow: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=WORKFLOW_LENGTH_MAX,
            description="The workflow's name; only for newline-delimited JSON, a JSON body names it itself.",
        ),
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Hand tasks in. Each bad item is refused by itself; the good ones are taken."""
    key = key_of(request, caller)
    kind = media_kind(request.headers.get("content-type"))
    if kind is None:
        text = "send tasks as application/json ({workflow, tasks}) or application/x-ndjson (a task per line)"
        raise Problem(415, ErrorCode.UNSUPPORTED, text)
    if kind == "json":
        return answer(await _push_json(request, caller, here, key))
    if workflow is None:
        raise Problem(422, ErrorCode.MALFORMED, "name the workflow in the address: POST /v1/tasks?workflow=<name>")
    return answer(await _push_lines(request, caller, here, key, workflow))


async def _push_json(request: Request, caller: Partner, here: Context, key: str | None) -> Reply:
    data = b"".join([piece async for piece in body(request, here)])
    mark = mark_of(request, hashlib.sha256(data).hexdigest())

    async def act(claim: Claim) -> tuple[Reply, str]:
        sender = Sender(caller.account, caller.partner)
        trace = request.headers.get("traceparent")
        done = await here.intake.push(sender, data, trace, batch=claim.batch, charge=caller.charge)
        return Reply(202, done), mark

    return await here.claims.once(key, act, fingerprint=mark)


async def _push_lines(request: Request, caller: Partner, here: Context, key: str | None, workflow: str) -> Reply:
    stream = body(request, here)

    async def act(claim: Claim) -> tuple[Reply, str]:
        sender = Sender(caller.account, caller.partner)
        trace = request.headers.get("traceparent")
        taking = await here.intake.begin(sender, workflow, traceparent=trace, batch=claim.batch)

        async def alive() -> None:
            await here.claims.touch(claim)

        await caller.charge(0)
        push = StreamedPush(here.intake, taking, charge=caller.owe, progress=alive)
        done = await push.take(stream)
        return Reply(202, done), mark_of(request, push.digest)

    async def read() -> str:
        return mark_of(request, await digest(stream))

    return await here.claims.once(key, act, fingerprint=None, read=read)


def key_of(request: Request, caller: Partner) -> str | None:
    """The _id of what is kept of the request's key; a signed request without one has its webhook-id for a key.

    Raises: Problem 400.
    """
    try:
        key = read_key(request.headers.getlist("idempotency-key"))
    except BadKey as error:
        raise Problem(400, ErrorCode.MALFORMED, str(error)) from error
    if key is not None:
        return claim_id(caller.account, "header", key)
    if caller.signed_id is not None:
        return claim_id(caller.account, f"signed:{caller.key_id}", caller.signed_id)
    return None


def mark_of(request: Request, content: str) -> str:
    """What must be the same when a key comes again."""
    query = f"?{request.url.query}" if request.url.query else ""
    return fingerprint(request.method, request.url.path + query, content)


def body(request: Request, here: Context) -> AsyncIterator[bytes]:
    """The pieces of the body, with a limit on pauses."""
    return with_deadline(request.stream(), here.settings.body_idle_s)


async def digest(stream: AsyncIterator[bytes]) -> str:
    """SHA-256 of a stream, read to its end."""
    found = hashlib.sha256()
    async for piece in stream:
        found.update(piece)
    return found.hexdigest()


def answer(reply: Reply) -> JSONResponse:
    """A reply as a response; one that is given again says so."""
    headers = {REPLAYED: "true"} if reply.replayed else {}
    return JSONResponse(reply.body, status_code=reply.status, headers=headers)
