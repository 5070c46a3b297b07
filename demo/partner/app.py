"""The partner's HTTP side: deliveries in, verified with the library of the Standard Webhooks project.

Owns: `POST /webhooks` and the `/_demo` switches. Called by: services/delivery, demo.run, tests. Survives a crash: a
delivery is stored before it is answered; switches are forgotten. Change also: demo/README.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.responses import JSONResponse

from demo.partner.store import Inbox, Reception

BODY_BYTES_MAX = 16 * 1024 * 1024
_STATUS = {Reception.NEW: 200, Reception.REPEAT: 200, Reception.CONFLICT: 409, Reception.REJECTED: 401}


class FaultSettings(BaseModel):
    """How the partner misbehaves. A field left out of a request keeps its value."""

    model_config = ConfigDict(extra="forbid")

    fail_next: int = Field(default=0, ge=0, le=100_000, description="Answer so many deliveries with `status`.")
    status: int = Field(default=500, ge=300, le=599, description="The status of a failed answer.")
    delay_s: float = Field(default=0.0, ge=0, le=600, description="Wait so long before every answer.")
    store_failed: bool = Field(default=False, description="Store a delivery that is then answered with a failure.")


class BodyTooLarge(Exception):
    """A delivery over the limit."""


def make_app(database: Path, secret: str) -> FastAPI:
    """The partner over this SQLite file, verifying with this secret."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.inbox = Inbox(database)
        app.state.webhook = Webhook(secret)
        app.state.faults = FaultSettings()
        yield
        app.state.inbox.close()

    app = FastAPI(title="The demo's partner", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_api_route("/webhooks", on_delivery, methods=["POST"])
    app.add_api_route("/_demo/received", received, methods=["GET"])
    app.add_api_route("/_demo/reset", reset, methods=["POST"])
    app.add_api_route("/_demo/faults", read_faults, methods=["GET"])
    app.add_api_route("/_demo/faults", set_faults, methods=["POST"])
    app.add_api_route("/healthz", _healthz, methods=["GET"])
    return app


async def on_delivery(request: Request) -> JSONResponse:
    """Verify a delivery, store it, answer: 200 taken or known, 401 not verified, 409 same id with other content."""
    try:
        body = await _body(request)
    except BodyTooLarge:
        return JSONResponse({"error": f"more than {BODY_BYTES_MAX} bytes"}, status_code=413)
    faults: FaultSettings = request.app.state.faults
    failing = faults.fail_next > 0
    faults.fail_next = max(0, faults.fail_next - 1)
    status, answer = faults.status, {"error": "failing, as the demo's switches say"}
    if not failing or faults.store_failed:
        reception = await run_in_threadpool(_take, request, body)
        if not failing:
            status, answer = _STATUS[reception], {"reception": reception.value}
    await asyncio.sleep(faults.delay_s)
    return JSONResponse(answer, status_code=status)


def _take(request: Request, body: bytes) -> Reception:
    inbox: Inbox = request.app.state.inbox
    webhook: Webhook = request.app.state.webhook
    webhook_id = request.headers.get("webhook-id", "")
    try:
        webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:
        # ValueError: the library splits and decodes the signature header and the body without care for garbage.
        inbox.reject(webhook_id, body, str(error) or type(error).__name__, _now())
        return Reception.REJECTED
    return inbox.receive(webhook_id, body, _now())


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge
    return bytes(body)


def received(request: Request, after: int = 0) -> dict[str, Any]:
    """What came: counts, and the deliveries numbered above `after` with their contents."""
    inbox: Inbox = request.app.state.inbox
    return inbox.received(after)


def reset(request: Request) -> dict[str, int]:
    """Forget everything received."""
    inbox: Inbox = request.app.state.inbox
    return {"forgotten": inbox.forget()}


async def read_faults(request: Request) -> FaultSettings:
    """The switches as they stand."""
    faults: FaultSettings = request.app.state.faults
    return faults


async def set_faults(request: Request, settings: FaultSettings) -> FaultSettings:
    """Change the switches named in the body."""
    changed = {**request.app.state.faults.model_dump(), **settings.model_dump(exclude_unset=True)}
    request.app.state.faults = FaultSettings.model_validate(changed)
    faults: FaultSettings = request.app.state.faults
    return faults


async def _healthz() -> dict[str, str]:
    return {"status": "alive"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
