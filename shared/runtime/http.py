"""The HTTP side that all services share: health, metrics, problems, limits, traces.

Called by: each service's `app()`. Survives a crash: nothing. Change also: nothing; errors are in problems.py, lists in
paging.py, both re-exported here, because routes import from this module.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import URL, Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.domain.addresses import Network, networks
from shared.domain.client import client_address, within
from shared.errors import ErrorCode
from shared.obs import trace
from shared.obs.logs import get_logger
from shared.obs.metrics import exposition, histogram
from shared.runtime.openapi import add_problem_shape
from shared.runtime.paging import current_url, decode_cursor, encode_cursor, paged
from shared.runtime.problems import Problem, add_handlers, problem, problem_of

if TYPE_CHECKING:
    from shared.runtime.service import Service

__all__ = ["Problem", "create_app", "decode_cursor", "encode_cursor", "paged", "problem"]

BODY_SIZE_BYTES_MAX = 16 * 1024 * 1024
VERSION = "0.1.0"
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

_log = get_logger(__name__)
_seconds = histogram("http_request_seconds", "Duration of HTTP requests.", ["method", "route", "status"])


def create_app(
    service: Service,
    title: str,
    *,
    version: str = VERSION,
    body_size_bytes_max: int = BODY_SIZE_BYTES_MAX,
    body_limits: Mapping[str, int] | None = None,
    **more: Any,
) -> FastAPI:
    """A FastAPI app with /healthz, /readyz and /metrics; every error is a problem, every request has limit and trace.

    service: stands in app.state.service. body_size_bytes_max: larger bodies are answered with 413. body_limits: other
    limits by path. more: for FastAPI itself.
    """
    app = FastAPI(title=title, version=version, **more)
    app.state.service = service
    add_handlers(app)
    add_problem_shape(app)
    _add_health(app, service)
    proxies = networks(getattr(service.settings, "proxies", ""))
    app.add_middleware(
        _Frame, body_size_bytes_max=body_size_bytes_max, body_limits=dict(body_limits or {}), proxies=proxies
    )
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    async def healthz() -> Any:
        watchdog = getattr(service, "watchdog", None)
        if watchdog is not None and (hung := watchdog.hung):
            text = ", ".join(f"{name} (for {for_s:.0f} s)" for name, for_s in sorted(hung.items()))
            return problem(503, ErrorCode.UNAVAILABLE, f"stands still: {text}", hung=sorted(hung))
        return {"status": "ok", "service": service.name, "instance": service.settings.instance, "version": app.version}

    async def readyz() -> Response:
        missing = await service.missing()
        if missing:
            return problem(503, ErrorCode.UNAVAILABLE, f"not ready: {'; '.join(missing)}", missing=missing)
        return JSONResponse({"status": "ready", "service": service.name, "instance": service.settings.instance})

    async def metrics() -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_api_route("/healthz", healthz, include_in_schema=False)
    app.add_api_route("/readyz", readyz, include_in_schema=False)
    app.add_api_route("/metrics", metrics, include_in_schema=False)


class _TooLarge(HTTPException):
    """A body over the limit. An HTTPException, because FastAPI turns all others that come while it reads into 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is over the limit of {limit} bytes")


class _Frame:
    """Around every request: trace, who asks, limit of the body, duration, an answer for errors that nobody caught."""

    def __init__(
        self, app: ASGIApp, body_size_bytes_max: int, body_limits: Mapping[str, int], proxies: Sequence[Network]
    ) -> None:
        self._app = app
        self._limit = body_size_bytes_max
        self._limits = body_limits
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        scope = self._seen_through(scope, headers)
        token = current_url.set(URL(scope=scope))
        try:
            given = headers.get("traceparent")
            with trace.use(trace.child(given) if given else None):
                await self._serve(scope, headers, receive, send)
        finally:
            current_url.reset(token)

    def _seen_through(self, scope: Scope, headers: Headers) -> Scope:
        """The request as it was before the proxies that are believed: the client's address, and http or https."""
        peer = scope.get("client")
        if not self._proxies or not peer or not within(peer[0], self._proxies):
            return scope
        client = client_address(peer[0], headers.getlist("x-forwarded-for"), self._proxies)
        scheme = headers.get("x-forwarded-proto", "").strip().lower()
        more = {"scheme": scheme} if scheme in ("http", "https") else {}
        return {**scope, "client": (client, peer[1]), **more}

    async def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        started, status, read = time.perf_counter(), 0, 0
        limit = self._limits.get(scope["path"], self._limit)

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _TooLarge(limit)
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            declared = headers.get("content-length", "0")
            if declared.isascii() and declared.isdigit() and int(declared) > limit:
                raise _TooLarge(limit)
            await self._app(scope, counted, noted)
        except Exception as error:
            answer = problem_of(error)
            if status == 0:
                await answer(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, duration_s: float) -> None:
        """Metric by route (not by path: those are without number) and a line at debug."""
        if scope["path"] in _QUIET:
            return
        route = getattr(scope.get("route"), "path", "none")
        _seconds.labels(scope["method"], route, str(status)).observe(duration_s)
        _log.debug(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(duration_s * 1000, 1),
        )
