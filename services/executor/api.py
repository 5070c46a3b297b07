"""The executor's HTTP: robots PUT here what is too large for a reply.

Called by: main.py. Survives a crash: the robot keeps the bytes until its reply names them and is answered by the next
instruction."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from services.executor.evidence import BadBlob, EvidenceStore
from services.executor.robots import blob_token
from services.executor.store import ExecutorStore
from shared.domain.run_state import LIVE
from shared.errors import ErrorCode, PermanentError
from shared.seal import Sealer

MEDIA_TYPE_CHARS_MAX = 100


def router(store: ExecutorStore, evidence: EvidenceStore, sealer: Sealer, *, size_bytes_max: int) -> APIRouter:
    """The routes."""
    routes = APIRouter()

    @routes.put("/v1/blobs/{sha256}", status_code=201, summary="Store a piece of evidence under its hash")
    async def put_blob(
        request: Request,
        sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
        authorization: Annotated[str, Header()] = "",
        content_type: Annotated[str, Header()] = "application/octet-stream",
    ) -> Response:
        run = await _run_of(authorization)
        found = await store.run(run)
        if found is None or found["state"] not in LIVE:
            raise PermanentError(ErrorCode.FORBIDDEN, "this token's run is over")
        try:
            await evidence.put(
                sha256, request.stream(), media_type=content_type[:MEDIA_TYPE_CHARS_MAX], size_bytes_max=size_bytes_max
            )
        except BadBlob as error:
            raise PermanentError(ErrorCode.INVALID_INPUT, f"not stored: {error}") from error
        return Response(status_code=201)

    async def _run_of(authorization: str) -> str:
        """The run that a token speaks for.

        Raises: PermanentError when it speaks for none.
        """
        token = authorization.removeprefix("Bearer ")
        run = token.rpartition(".")[0]
        if not run or not hmac.compare_digest(token.encode(), blob_token(sealer, run).encode()):
            raise PermanentError(ErrorCode.UNAUTHENTICATED, "send the token of the instruction as a Bearer token")
        return run

    return routes
