"""Where outcomes are delivered: the endpoints of an account, with their sealed secrets and keys.

Owns, with delivery: collection endpoints (the writes: shared/mongo/endpoints.py). Called by: api/endpoints.py, pages. A
secret is shown when it was made here, and never again. When it is changed the one before signs beside it for a while,
so that a partner can change over without losing a delivery.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.contracts.endpoint_file import Rotation
from shared.domain.addresses import networks
from shared.domain.endpoint import WEBHOOK, secret_problem, url_problem
from shared.domain.endpoint_options import SFTP, complaints
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.mongo.endpoints import HIDDEN, Put
from shared.mongo.endpoints import put_endpoint as put
from shared.mongo.endpoints import rotate_endpoint as rotate
from shared.obs.clock import now
from shared.outbound.ssh import host_keys

ENDPOINTS_PER_ACCOUNT_MAX = 200


async def list_endpoints(
    context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None
) -> Listed:
    """Endpoints without their secrets, newest first."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(context, "endpoints", query, by="created_at", limit=limit, cursor=cursor, projection=HIDDEN)


async def get_endpoint(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One endpoint without its secrets.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["endpoints"].find_one({"_id": f"{account}/{name}"}, HIDDEN)
    return found(document, viewer, f"endpoint {account}/{name}")


async def put_endpoint(
    context: Context, viewer: Viewer, account: str, name: str, fields: Mapping[str, Any], secret: str | None
) -> Put:
    """Make or change an endpoint; without a secret a new one gets one made here, and an old one keeps its own.

    fields: EndpointFields.stored(). Raises: PermanentError NOT_FOUND (account), INVALID_INPUT, TOO_MANY.
    """
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    why = secret_problem(secret) if secret is not None else None
    if fields.get("kind", WEBHOOK) == WEBHOOK:
        why = why or url_problem(str(fields["url"]), networks(context.settings.delivery_private_allowed))
    else:
        why = why or _options_problem(str(fields["kind"]), fields.get("options") or {})
    if why:
        raise PermanentError(ErrorCode.INVALID_INPUT, why)
    endpoint_id = f"{account}/{name}"
    if await context.mongo["endpoints"].find_one({"_id": endpoint_id}, {"_id": 1}) is None:
        await _check_count(context, account)
    done = await put(
        context.mongo, context.sealer, account, name, fields, secret=secret, overlap_s=Rotation().overlap_s, at=now()
    )
    details = {"url": fields.get("url"), "events": fields.get("events"), "new_secret": bool(secret or done.secret)}
    await audit(
        context.mongo, by=viewer.name, action="endpoint.put", target=endpoint_id, account=account, details=details
    )
    return done


def _options_problem(kind: str, options: Mapping[str, Any]) -> str | None:
    """What is wrong with the options of an endpoint that gets files, or none. Whether this installation has a mail
    server and a folder for files, delivery knows: a test event says so."""
    wrong = complaints(kind, options)
    if wrong:
        return f"{wrong[0]['path'].removeprefix('/')}: {wrong[0]['message']}"
    if kind == SFTP:
        try:
            host_keys(str(options["host_key"]))
        except ValueError as error:
            return f"options/host_key: {error}"
    return None


async def rotate_endpoint(context: Context, viewer: Viewer, account: str, name: str, overlap_s: int) -> Put:
    """New secrets and keys; those before sign beside them for a while.

    Raises: PermanentError NOT_FOUND, CONFLICT (nothing that goes to it is signed).
    """
    document = await get_endpoint(context, viewer, account, name)
    if document.get("kind", WEBHOOK) != WEBHOOK:
        raise PermanentError(ErrorCode.CONFLICT, f"{name} is no webhook: nothing that goes to it is signed")
    done = await rotate(context.mongo, context.sealer, account, name, overlap_s=overlap_s, at=now())
    if done is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"endpoint {account}/{name} does not exist")
    await audit(
        context.mongo, by=viewer.name, action="endpoint.rotate", target=str(document["_id"]), account=account,
        details={"overlap_s": overlap_s},
    )  # fmt: skip
    return done


async def send_test(context: Context, viewer: Viewer, account: str, name: str) -> Asked:
    """Ask delivery to send a test event; the request's reason is the delivery's id.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_endpoint(context, viewer, account, name)
    args = {"account": account, "endpoint": name}
    target = str(document["_id"])
    return await ask(context, viewer, kind="endpoint.test", to="delivery", target=target, account=account, args=args)


async def delete_endpoint(context: Context, viewer: Viewer, account: str, name: str) -> None:
    """Remove an endpoint; what waits to be delivered to it becomes dead.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_endpoint(context, viewer, account, name)
    await context.mongo["endpoints"].delete_one({"_id": document["_id"]})
    target = str(document["_id"])
    await audit(context.mongo, by=viewer.name, action="endpoint.delete", target=target, account=account)


async def _check_count(context: Context, account: str) -> None:
    if await context.mongo["endpoints"].count_documents({"account": account}) >= ENDPOINTS_PER_ACCOUNT_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"an account has at most {ENDPOINTS_PER_ACCOUNT_MAX} endpoints")
