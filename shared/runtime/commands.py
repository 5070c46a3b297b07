"""Durable requests between services: who may not take an edge asks its owner, and can wait for the answer.

Called by: console and collector (`issue`, `wait`), scheduler, executor and delivery (`pending`, `finish`). Survives a
crash: the request is a document in `commands`; the hint may be lost, because its owner sweeps. Change also:
`command.*` in the topology.

After CLAIMS_MAX sweeps without an end a request is refused as poison, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from shared.broker import Broker
from shared.contracts.messages import CommandIssued
from shared.contracts.topology import HANDOFFS
from shared.errors import ErrorCode, PermanentError, RegenteError, TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import guarded_update, insert_once
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger

CLAIMS_MAX = 20
BACKOFF_S = 2.0
BACKOFF_S_MAX = 60.0
BATCH_MAX = 100
HINT_TIMEOUT_S = 2.0
POLL_S, POLL_S_MAX = 0.02, 0.25

_log = get_logger(__name__)


async def issue(
    mongo: Mongo,
    broker: Broker,
    *,
    kind: str,
    to: str,
    target: str,
    args: Mapping[str, Any],
    by: str,
    id: str | None = None,
) -> str:
    """Ask the service `to` for `kind` (such as worker.authorise) on `target`; the id of the request.

    id: `cmd_` and what makes it the same request when it is asked for again; none: a new one.
    A hint that can't be sent is no error: the owner finds the document. Raises: TemporaryError when it is not stored.
    """
    at, command = now(), id or new_id("cmd_")
    document = {
        "_id": command,
        "schema_version": 1,
        "kind": kind,
        "to": to,
        "target": target,
        "args": dict(args),
        "by": by,
        "state": "pending",
        "reason": None,
        "claims": 0,
        "created_at": at,
        "due_at": at + timedelta(seconds=BACKOFF_S),
    }
    await insert_once(mongo["commands"], document)
    try:
        async with asyncio.timeout(HINT_TIMEOUT_S):
            await broker.send(HANDOFFS, f"command.{to}", CommandIssued(command=command, to=to))
    except (RegenteError, TimeoutError) as error:
        _log.info("hint not sent, the sweep will find it", command=command, reason=str(error) or "timeout")
    return command


async def find(mongo: Mongo, id: str) -> dict[str, Any] | None:
    """A request that is still pending, for the handler of its hint; None when it has ended (or never was)."""
    return await mongo["commands"].find_one({"_id": id, "state": "pending"})


async def finish(mongo: Mongo, id: str, state: Literal["done", "refused"], reason: str | None = None) -> bool:
    """End a request; False when it had ended before.

    Raises: TemporaryError.
    """
    change = {"state": state, "reason": reason, "ended_at": now()}
    done = await guarded_update(
        mongo["commands"], id, {"state": "pending"}, {"$set": change}, op=f"finish/{id}/{state}"
    )
    return done.applied


async def wait(mongo: Mongo, id: str, timeout_s: float) -> dict[str, Any]:
    """The request when it has ended, or as it is after timeout_s seconds.

    Raises: PermanentError NOT_FOUND, TemporaryError.
    """
    deadline, pause = monotonic_s() + timeout_s, POLL_S
    while True:
        try:
            found = await mongo["commands"].find_one({"_id": id})
        except PyMongoError as error:
            raise TemporaryError(f"the request can't be read: {first_line(error)}") from error
        if found is None:
            raise PermanentError(ErrorCode.NOT_FOUND, f"there is no request {id}")
        left = deadline - monotonic_s()
        if found["state"] != "pending" or left <= 0:
            return found
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, POLL_S_MAX)


async def pending(mongo: Mongo, to: str, limit: int = BATCH_MAX) -> list[dict[str, Any]]:
    """Requests to a service that are due, claimed for this sweep: each comes again, ever more rarely, until it ends."""
    claimed: list[dict[str, Any]] = []
    while len(claimed) < limit:
        found = await _claim(mongo, to)
        if found is None:
            break
        if found["claims"] > CLAIMS_MAX:
            await finish(mongo, found["_id"], "refused", f"{ErrorCode.POISON}: tried {CLAIMS_MAX} times without an end")
            _log.error("request held as poison", command=found["_id"], kind=found["kind"], target=found["target"])
            continue
        claimed.append(found)
    return claimed


async def _claim(mongo: Mongo, to: str) -> dict[str, Any] | None:
    """The next due request, with its claims raised and its time pushed out."""
    at = now()
    wait_ms = {"$multiply": [BACKOFF_S * 1000, {"$pow": [2, {"$min": ["$claims", 10]}]}]}
    change = {
        "claims": {"$add": ["$claims", 1]},
        "due_at": {"$add": [at, {"$toLong": {"$min": [BACKOFF_S_MAX * 1000, wait_ms]}}]},
    }
    return await mongo["commands"].find_one_and_update(
        {"to": to, "state": "pending", "due_at": {"$lte": at}},
        [{"$set": change}],
        sort=[("due_at", 1)],
        return_document=ReturnDocument.AFTER,
    )
