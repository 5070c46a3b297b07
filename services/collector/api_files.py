"""POST /v1/files and GET /v1/files/{id}: files beside tasks, whose ids may stand in inputs.

Called by: api.py. Survives a crash: see shared/mongo/files.py. The body is never held as a whole: it goes to the
database as it arrives. Change also: schemas.py, README.md, docs/adr/0020.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from services.collector import schemas
from services.collector.api_push import REPLAYED, IdempotencyKey, answer, body, digest, key_of, mark_of
from services.collector.claims import Claim, Reply
from services.collector.context import EXISTS, ID, Caller, Here, Pusher, bytes_headers
from services.collector.multipart import BadForm, FilePart
from shared.domain.task_view import moment
from shared.errors import ErrorCode
from shared.mongo.files import NAME_LENGTH_MAX, BadFile
from shared.runtime.http import Problem
from shared.runtime.openapi import partner_problems

PATH = "/v1/files"
FORM = "multipart/form-data"


def add_routes(router: APIRouter) -> None:
    """The routes of files."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary", "description": "With a filename."}},
        }
    }
    described = {"model": schemas.FileView, "headers": {REPLAYED: schemas.REPLAYED_HEADER}}
    router.add_api_route(
        PATH,
        put_file,
        methods=["POST"],
        status_code=201,
        responses={
            200: {**described, "description": "The account had these bytes; this is that file."},
            201: {**described, "description": "The file; its id may stand in an input."},
            **partner_problems(400, 408, 409, 413),
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": binary, FORM: form}}},
    )
    router.add_api_route(
        f"{PATH}/{{id}}",
        get_file,
        methods=["GET"],
        response_class=Response,
        responses={200: schemas.BYTES_ANSWER, 304: {"description": "The client has it."}, **EXISTS},
    )


async def put_file(
    request: Request,
    caller: Pusher,
    here: Here,
    name: Annotated[
        str | None,
        Query(min_length=1, max_length=NAME_LENGTH_MAX, description="Its name; a form's file brings its own."),
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Hand a file in: as the body itself (with ?name=), or as the one file of a form."""
    stream = body(request, here)

    async def act(_: Claim) -> tuple[Reply, str]:
        file_name, media_type, chunks = await _file(request, name, stream)
        by = f"partner {caller.account}/{caller.partner}"
        try:
            found = await here.files.put(caller.account, file_name, media_type, chunks, by=by)
        except BadFile as error:
            raise _refused(error) from error
        return Reply(200 if found["duplicate"] else 201, file_view(found)), mark_of(request, found["sha256"])

    async def read() -> str:
        return mark_of(request, await digest((await _file(request, name, stream))[2]))

    try:
        return answer(await here.claims.once(key_of(request, caller), act, fingerprint=None, read=read))
    except BadForm as error:
        raise Problem(422, ErrorCode.MALFORMED, str(error)) from error


async def get_file(id: ID, request: Request, caller: Caller, here: Here) -> Response:
    """The bytes of a file."""
    opened = await here.files.open(caller.account, id)
    if opened is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such file in this account")
    document, chunks = opened
    headers = bytes_headers(document)
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": headers["ETag"]})
    return StreamingResponse(chunks, media_type=document["media_type"], headers=headers)


async def _file(
    request: Request, name: str | None, stream: AsyncIterator[bytes]
) -> tuple[str, str | None, AsyncIterator[bytes]]:
    """The file in a request: its name, its media type, its bytes."""
    content_type = request.headers.get("content-type", "")
    if content_type.split(";")[0].strip().lower() == FORM:
        part = FilePart(content_type, stream)
        await part.begin()
        return name or part.name or "", part.media_type, part.chunks()
    if name is None:
        raise Problem(422, ErrorCode.MALFORMED, "name the file in the address: POST /v1/files?name=letter.pdf")
    return name, content_type or None, stream


def _refused(error: BadFile) -> Problem:
    if error.too_large:
        return Problem(413, ErrorCode.TOO_LARGE, str(error))
    return Problem(422, ErrorCode.INVALID_INPUT, str(error))


def file_view(document: Mapping[str, Any]) -> dict[str, Any]:
    """A file as its partner sees it."""
    return {
        "id": document["_id"],
        "name": document["name"],
        "media_type": document["media_type"],
        "size_bytes": document["size_bytes"],
        "sha256": document["sha256"],
        "created_at": moment(document["created_at"]),
        "duplicate": document["duplicate"],
    }
