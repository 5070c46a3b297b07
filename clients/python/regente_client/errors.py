"""What can go wrong, as exceptions.

RegenteError
├── ApiError                the service answered with an error (problem+json, RFC 9457)
│   ├── InvalidRequest      400, 413, 422: send something else
│   ├── NotAllowed          401, 403: another key
│   ├── NotFound            404
│   ├── Conflict            409: the state of the thing does not allow it
│   ├── TooManyRequests     429, still after the retries
│   └── ServiceUnavailable  5xx, still after the retries
├── ConnectionFailed        no answer, still after the retries
├── WaitTimedOut            a task did not end in time
└── WebhookInvalid          do not trust this request
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

DETAIL_LENGTH_MAX = 500


class RegenteError(Exception):
    """Base of all errors of this package."""


class ApiError(RegenteError):
    """The service answered with an error.

    status: of HTTP. code: for programs, such as REFERENCE_CONFLICT. detail: for people. errors: several faults, each
    with `message` and `path`. retry_after_s: how long the service asked to wait. attempts: how often it was asked.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        retry_after_s: float | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" + (f" (after {attempts} attempts)" if attempts > 1 else ""))
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.retry_after_s = retry_after_s
        self.attempts = attempts


class InvalidRequest(ApiError):
    """The request can't be read, is too large, or does not fit its schema."""


class NotAllowed(ApiError):
    """The key is missing, wrong, revoked or expired, or lacks a scope."""


class NotFound(ApiError):
    """There is no such thing in this account."""


class Conflict(ApiError):
    """The state of the thing does not allow this."""


class TooManyRequests(ApiError):
    """The rate limit was hit again and again."""


class ServiceUnavailable(ApiError):
    """The service can't do it now."""


class ConnectionFailed(RegenteError):
    """No answer came. Repeating the call with the same idempotency key is safe."""


class WaitTimedOut(RegenteError):
    """A task did not end in time; it goes on all the same."""


class WebhookInvalid(RegenteError):
    """A webhook whose signature, time or content is wrong."""


_KINDS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}


def api_error(status: int, body: bytes, *, retry_after_s: float | None = None, attempts: int = 1) -> ApiError:
    """The exception for an answer; also for one that is no problem+json, as proxies give."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    problem: Mapping[str, Any] = found if isinstance(found, dict) else {}
    kind = _KINDS.get(status, ServiceUnavailable if status >= 500 else ApiError)
    text = problem.get("detail") or problem.get("title") or body[:DETAIL_LENGTH_MAX].decode("utf-8", "replace")
    errors = problem.get("errors")
    return kind(
        status,
        str(problem.get("code") or f"HTTP_{status}"),
        str(text)[:DETAIL_LENGTH_MAX],
        errors=[each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else None,
        retry_after_s=retry_after_s,
        attempts=attempts,
    )
