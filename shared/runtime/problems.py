"""Errors as RFC 9457 problem+json: one shape for every error that HTTP clients see.

Called by: shared.runtime.http registers the handlers; routes raise `Problem` or any RegenteError. Survives a crash:
nothing. Change also: ErrorCode in shared/errors.py; the description of problems in each service's OpenAPI.
"""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.errors import ErrorCode, PermanentError, RegenteError, TemporaryError
from shared.mongo.guarded import is_transient
from shared.obs.logs import get_logger

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
ERRORS_COUNT_MAX = 100

STATUS_OF_CODE = {
    ErrorCode.MALFORMED: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.WORKER_REFUSED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.UNKNOWN_WORKFLOW: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.TIMEOUT: 408,
    ErrorCode.CONFLICT: 409,
    ErrorCode.FINAL: 409,
    ErrorCode.REFERENCE_CONFLICT: 409,
    ErrorCode.DUPLICATE_REFERENCE: 409,
    ErrorCode.POISON: 409,
    ErrorCode.GONE: 410,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED: 415,
    ErrorCode.INVALID_INPUT: 422,
    ErrorCode.UNKNOWN_COMMAND: 422,
    ErrorCode.TOO_MANY: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.UNROUTABLE: 503,
}
_CODE_OF_STATUS = {
    400: ErrorCode.MALFORMED,
    401: ErrorCode.UNAUTHENTICATED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    408: ErrorCode.TIMEOUT,
    409: ErrorCode.CONFLICT,
    410: ErrorCode.GONE,
    413: ErrorCode.TOO_LARGE,
    415: ErrorCode.UNSUPPORTED,
    422: ErrorCode.INVALID_INPUT,
    429: ErrorCode.TOO_MANY,
    503: ErrorCode.UNAVAILABLE,
}

_log = get_logger(__name__)


class Problem(PermanentError):
    """An answer with its own status: `Problem(404, "no such task")` or `Problem(409, ErrorCode.FINAL, "it ended")`.

    errors: a list for bodies with several faults. headers: sent with it. more: further members of the body.
    """

    def __init__(
        self,
        status: int,
        what: ErrorCode | str,
        detail: str = "",
        /,
        *,
        code: ErrorCode | str | None = None,
        errors: Sequence[Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        chosen = what if isinstance(what, ErrorCode) else code or _CODE_OF_STATUS.get(status, ErrorCode.INTERNAL)
        super().__init__(ErrorCode(chosen), detail if isinstance(what, ErrorCode) else what)
        self.status = status
        self.headers = dict(headers or {})
        self.more = {**({"errors": list(errors)[:ERRORS_COUNT_MAX]} if errors is not None else {}), **more}


def problem(
    status: int, code: ErrorCode, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The response itself."""
    body = {"type": "about:blank", "title": _title(status), "status": status, "code": code.value, "detail": detail}
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    return JSONResponse(jsonable_encoder({**body, **more}), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> JSONResponse:
    """The response for any error. Faults of this program are logged with their stack, and tell nothing outside."""
    if isinstance(error, Problem):
        return problem(error.status, error.code, error.message, headers=error.headers, **error.more)
    if isinstance(error, PermanentError):
        return problem(STATUS_OF_CODE.get(error.code, 500), error.code, error.message)
    if isinstance(error, TemporaryError):
        return _unavailable(error.message, error.delay_s)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        code = _CODE_OF_STATUS.get(error.status_code, ErrorCode.INTERNAL)
        return problem(error.status_code, code, str(error.detail), headers=error.headers)
    if isinstance(error, ClientDisconnect):  # nobody reads this
        return problem(400, ErrorCode.MALFORMED, "the connection ended before the body did")
    if isinstance(error, PyMongoError) and is_transient(error):
        _log.warning("request failed: the database is away", reason=str(error)[:200])
        return _unavailable("the database does not answer at the moment; try again", None)
    _log.error("request failed", exc_info=error)
    return problem(500, ErrorCode.INTERNAL, "a fault of this program; its log holds the details")


def add_handlers(app: FastAPI) -> None:
    """Answer the errors that FastAPI and Starlette know with problems; the rest is caught around the whole app."""

    async def on_error(_: Request, error: Exception) -> JSONResponse:
        return problem_of(error)

    for kind in (RegenteError, RequestValidationError, HTTPException, PyMongoError):
        app.add_exception_handler(kind, on_error)


def _unavailable(detail: str, delay_s: float | None) -> JSONResponse:
    after = str(max(1, round(delay_s if delay_s is not None else RETRY_AFTER_S)))
    return problem(503, ErrorCode.UNAVAILABLE, detail, headers={"Retry-After": after})


def _invalid(error: RequestValidationError) -> JSONResponse:
    """422 with a list of what is wrong where; a body that is no JSON is 400."""
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        reason = next(each for each in found if each["type"] == "json_invalid").get("ctx", {}).get("error", "")
        return problem(400, ErrorCode.MALFORMED, f"the body is no JSON: {reason}")
    errors = [
        {"path": ".".join(str(part) for part in each["loc"]), "message": each["msg"], "type": each["type"]}
        for each in found[:ERRORS_COUNT_MAX]
    ]
    first = errors[0] if errors else {"path": "body", "message": "is wrong"}
    detail = f"{first['path']}: {first['message']}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
    return problem(422, ErrorCode.INVALID_INPUT, detail, errors=errors)


def _title(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"
