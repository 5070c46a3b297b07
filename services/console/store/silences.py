"""Silences: of which alerts people don't want to be told for a time.

Owns: collection silences. Called by: api/silences.py, api/alerts.py, pages. Read by: alerts (services/alerts/notify)
before it tells; a change counts from its next look on. A silence is never changed but for its end, and its document
stays for a while after that. Change also: docs/notifications.md, section 'Data' of ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.console.core.access import Viewer
from services.console.store.alerts import get_alert
from services.console.store.context import Context
from services.console.store.listing import Listed, list_page
from shared.domain.silences import (
    SILENCES_MAX,
    BadSilence,
    Silence,
    labels_of,
    parse_silence,
    silence_document,
    silenced_until,
)
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.obs.ids import new_id

SILENCES_PER_ACCOUNT_MAX = 200
SILENCES_KEPT_S = 1.0


def _visible(viewer: Viewer, account: str | None) -> dict[str, Any]:
    """Those of the viewer's accounts, and those for all accounts, which hold back what is told to everybody."""
    query = viewer.account_filter(account)
    if account is None and not viewer.everywhere:
        query = {"account": {"$in": [*viewer.accounts, None]}}
    return query


async def list_silences(
    context: Context, viewer: Viewer, *, account: str | None, ended: bool, limit: int, cursor: str | None
) -> Listed:
    """Silences, those that end last first. ended: those that are over, instead of those that are not."""
    side = {"$lte": now()} if ended else {"$gt": now()}
    query = {**_visible(viewer, account), "ends_at": side}
    return await list_page(context, "silences", query, by="ends_at", limit=limit, cursor=cursor)


async def get_silence(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """One silence.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["silences"].find_one({"_id": id})
    if document is None or not (document["account"] is None or viewer.sees(document["account"])):
        raise PermanentError(ErrorCode.NOT_FOUND, f"silence {id} does not exist")
    return dict(document)


async def make_silence(
    context: Context, viewer: Viewer, *, account: str | None, matchers: Sequence[Mapping[str, Any]],
    starts_at: datetime | None, ends_at: datetime, reason: str,
) -> dict[str, Any]:  # fmt: skip
    """Make a silence. account: only alerts of it; none: of all. starts_at: none: now.

    Raises: PermanentError FORBIDDEN, NOT_FOUND (account), INVALID_INPUT, TOO_MANY.
    """
    await _check_account(context, viewer, account)
    at = now()
    wanted = {
        "_id": new_id("silence_"), "account": account, "matchers": [dict(one) for one in matchers],
        "starts_at": starts_at or at, "ends_at": ends_at, "by": viewer.name, "reason": reason.strip(),
    }  # fmt: skip
    try:
        silence = parse_silence(wanted)
    except BadSilence as error:
        raise PermanentError(ErrorCode.INVALID_INPUT, str(error)) from error
    if silence.ends_at <= at:
        raise PermanentError(ErrorCode.INVALID_INPUT, "ends_at: it would be over already")
    await _check_count(context, account, at)
    document = silence_document(silence)
    await context.mongo["silences"].insert_one(document)
    details = {name: document[name] for name in ("matchers", "starts_at", "ends_at", "reason")}
    await audit(
        context.mongo, by=viewer.name, action="silence.make", target=silence.id, account=account, details=details
    )
    return document


async def silence_alert(
    context: Context, viewer: Viewer, alert_id: str, *, for_s: float, reason: str, whole_rule: bool = False
) -> dict[str, Any]:
    """Silence an alert from now on, also when it comes again. whole_rule: all that its rule finds in its account.

    for_s: how long, seconds. Raises: PermanentError NOT_FOUND, FORBIDDEN, INVALID_INPUT, TOO_MANY.
    """
    alert = await get_alert(context, viewer, alert_id)
    matchers = [{"field": "rule", "op": "eq", "value": alert["rule"]}]
    if not whole_rule:
        matchers.append({"field": "target", "op": "eq", "value": alert["target"]})
    at = now()
    return await make_silence(
        context, viewer, account=alert["account"], matchers=matchers, starts_at=at,
        ends_at=at + timedelta(seconds=for_s), reason=reason,
    )  # fmt: skip


async def end_silence(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """End a silence now: what is still wrong is told. One that has not begun yet is over before it begins.

    Raises: PermanentError NOT_FOUND, FORBIDDEN, CONFLICT (it is over).
    """
    document = await get_silence(context, viewer, id)
    await _check_account(context, viewer, document["account"])
    at = now()
    if document["ends_at"] <= at:
        raise PermanentError(ErrorCode.CONFLICT, f"silence {id} is over")
    starts_at = min(document["starts_at"], at - timedelta(milliseconds=1))
    ended = silence_document(parse_silence({**document, "starts_at": starts_at, "ends_at": at}))
    done = await context.mongo["silences"].replace_one({"_id": id, "ends_at": document["ends_at"]}, ended)
    if done.matched_count == 0:
        raise PermanentError(ErrorCode.CONFLICT, f"silence {id} is over")
    await audit(context.mongo, by=viewer.name, action="silence.end", target=id, account=document["account"])
    return ended


async def current_silences(context: Context) -> list[Silence]:
    """All that hold back now or will, as of a moment ago; what can't be used is left out, as alerts does."""

    async def ask() -> list[Silence]:
        query = {"ends_at": {"$gt": now()}}
        found: list[Silence] = []
        async for one in context.mongo["silences"].find(query).limit(SILENCES_MAX):
            try:
                found.append(parse_silence(one))
            except BadSilence:
                continue
        return found

    silences: list[Silence] = await context.moment.get("silences", ask, SILENCES_KEPT_S)
    return silences


async def with_silence(context: Context, alerts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Alerts with `silenced_until`: until when people hold each back, or none."""
    silences, at = await current_silences(context), now()
    return [{**one, "silenced_until": silenced_until(labels_of(one), silences, at)} for one in alerts]


async def _check_count(context: Context, account: str | None, at: datetime) -> None:
    standing = {"ends_at": {"$gt": at}}
    if await context.mongo["silences"].count_documents({**standing, "account": account}) >= SILENCES_PER_ACCOUNT_MAX:
        text = f"an account, and the installation, have at most {SILENCES_PER_ACCOUNT_MAX} silences at once; end one"
        raise PermanentError(ErrorCode.TOO_MANY, text)
    if await context.mongo["silences"].count_documents(standing) >= SILENCES_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"all accounts together have at most {SILENCES_MAX} silences at once")


async def _check_account(context: Context, viewer: Viewer, account: str | None) -> None:
    if account is None:
        if not viewer.everywhere:
            raise PermanentError(ErrorCode.FORBIDDEN, "silences for all accounts are for who sees all accounts")
    elif not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
