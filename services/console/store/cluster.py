"""How the installation stands: services, broker, database, dead letters.

Called by: api/cluster.py, pages (health), cli (`regente status`, `regente doctor`). Owns nothing. Whatever can't be
reached is part of the answer, not an error.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from pymongo.errors import PyMongoError

from services.console.store.context import Context
from shared.contracts.topology import SERVICE_QUEUES
from shared.errors import ErrorCode, PermanentError, RegenteError
from shared.outbound.trust import tls_context

PROBE_TIMEOUT_S = 2.0
HEALTH_KEPT_S = 3.0
LEASES_MAX = 200
PEEKED_MAX = 50
PAYLOAD_BYTES_MAX = 4000
DEAD_SUFFIX = ".dead"


async def cluster(context: Context) -> dict[str, Any]:
    """{services: [...], leases: [...], broker: {...}, database: {...}}; kept for a moment."""

    async def ask() -> dict[str, Any]:
        services, leases, broker, database = await asyncio.gather(
            _services(context), _leases(context), _broker(context), _database(context)
        )
        return {"services": services, "leases": leases, "broker": broker, "database": database}

    answer: dict[str, Any] = await context.moment.get("cluster", ask, HEALTH_KEPT_S)
    return answer


async def _services(context: Context) -> list[dict[str, Any]]:
    """Whether each service answers that it is ready, by its address in the settings."""
    settings = context.settings
    urls = {
        "collector": settings.collector_url,
        "scheduler": settings.scheduler_url,
        "executor": settings.executor_url,
        "delivery": settings.delivery_url,
        "alerts": settings.alerts_url,
    }
    trust = tls_context(settings.ca_file)
    async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, verify=trust) as client:
        probed = await asyncio.gather(*(_probe(client, name, str(url)) for name, url in urls.items() if url))
    here = {"service": "console", "url": settings.console_url, "ready": True, "reason": None, "answered_s": 0.0}
    return [here, *probed]


async def _probe(client: httpx.AsyncClient, service: str, url: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        answer = await client.get(url.rstrip("/") + "/readyz")
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        return {"service": service, "url": url, "ready": False, "reason": reason, "answered_s": None}
    answered_s = round(time.monotonic() - started, 4)
    ready = answer.status_code == 200
    why = None if ready else _detail(answer)
    return {"service": service, "url": url, "ready": ready, "reason": why, "answered_s": answered_s}


def _detail(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        return str(body.get("detail") or body.get("title") or answer.status_code)
    except (ValueError, AttributeError):
        return f"status {answer.status_code}"


async def _leases(context: Context) -> list[dict[str, Any]]:
    cursor = context.mongo["leases"].find().sort("_id", 1).limit(LEASES_MAX)
    try:
        return [
            {"id": one["_id"], "owner": one.get("owner"), "token": one.get("token"), "at": one.get("at")}
            async for one in cursor
        ]
    except PyMongoError:
        return []


async def _broker(context: Context) -> dict[str, Any]:
    try:
        queues = await context.admin.queues()
    except (RegenteError, httpx.HTTPError) as error:
        return {"connected": context.broker.connected, "queues": [], "reason": str(error) or type(error).__name__}
    rows = sorted((_queue(one) for one in queues), key=lambda row: str(row["name"]))
    return {"connected": context.broker.connected, "queues": rows, "reason": None}


def _queue(queue: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": queue["name"],
        "messages": int(queue.get("messages") or 0),
        "unacknowledged": int(queue.get("messages_unacknowledged") or 0),
        "consumers": int(queue.get("consumers") or 0),
        "type": queue.get("type") or "classic",
    }


async def _database(context: Context) -> dict[str, Any]:
    started = time.monotonic()
    try:
        hello = await context.mongo.db.client.admin.command("hello")
    except PyMongoError as error:
        return {
            "ready": False,
            "primary": None,
            "set": None,
            "hosts": [],
            "reason": str(error)[:300],
            "answered_s": None,
        }
    return {
        "ready": bool(hello.get("primary")),
        "primary": hello.get("primary"),
        "set": hello.get("setName"),
        "hosts": list(hello.get("hosts") or []),
        "reason": None if hello.get("primary") else "the replica set has no primary",
        "answered_s": round(time.monotonic() - started, 4),
    }


async def dead_letters(context: Context, queue: str | None, limit: int) -> list[dict[str, Any]]:
    """What lies in the dead-letter queues, put back after the look.

    queue: one of them, or all. limit: letters per queue, at most PEEKED_MAX.
    Raises: PermanentError NOT_FOUND, TemporaryError when the broker's management does not answer.
    """
    names = sorted({one.dead for one in SERVICE_QUEUES if one.dead} | {"executor.replies.dead"})
    if queue is not None and queue not in names:
        raise PermanentError(ErrorCode.NOT_FOUND, f"{queue} is no dead-letter queue")
    wanted = [queue] if queue else names
    letters: list[dict[str, Any]] = []
    for name in wanted:
        letters += [_letter(name, one) for one in await context.admin.peek(name, min(limit, PEEKED_MAX))]
    return letters


def _letter(queue: str, message: dict[str, Any]) -> dict[str, Any]:
    properties = message.get("properties") or {}
    headers = properties.get("headers") or {}
    deaths = headers.get("x-death") or [{}]
    return {
        "queue": queue,
        "died_in": queue.removesuffix(DEAD_SUFFIX),
        "reason": str(headers.get("regente-reason") or deaths[0].get("reason") or "unknown"),
        "routing_key": message.get("routing_key"),
        "message_id": properties.get("message_id"),
        "payload": str(message.get("payload", ""))[:PAYLOAD_BYTES_MAX],
        "payload_encoding": message.get("payload_encoding"),
        "size_bytes": int(message.get("payload_bytes") or 0),
    }
