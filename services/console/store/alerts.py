"""Alerts and the rules that make them, for people.

Called by: api/alerts.py, api/rules.py. Owns: `rules` (alerts inserts the defaults once). An alert is alerts' own: it is
acknowledged by a request to that service. Change also: shared/domain/alert_rules.py, docs/alerts.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX, Listed, found, list_page
from shared.domain.alert_rules import DEFAULTS, RULES_MAX, BadRule, parse_rule, rule_document
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now

RULES_PER_ACCOUNT_MAX = 200
TOLD_MAX = 200
_DEFAULT_NAMES = frozenset(rule.id for rule in DEFAULTS)


async def list_alerts(
    context: Context,
    viewer: Viewer,
    *,
    account: str | None,
    state: str | None,
    rule: str | None = None,
    severity: str | None = None,
    target: str | None = None,
    acked: bool | None = None,
    limit: int,
    cursor: str | None,
) -> Listed:
    """Alerts, the newest first; those of no account are for users of all accounts. acked: whether somebody looks."""
    wanted: dict[str, Any] = {"state": state, "rule": rule, "severity": severity, "target": target}
    if acked is not None:
        wanted["acked"] = {"$ne": None} if acked else {"$eq": None}
    query = {**viewer.account_filter(account), **{name: value for name, value in wanted.items() if value is not None}}
    return await list_page(context, "alerts", query, by="since", limit=limit, cursor=cursor)


async def get_alert(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """One alert. Raises: PermanentError NOT_FOUND."""
    return found(await context.mongo["alerts"].find_one({"_id": id}), viewer, f"alert {id}")


async def acknowledge(context: Context, viewer: Viewer, id: str, taken: bool, note: str | None) -> Asked:
    """Say that somebody looks at an alert, or that nobody does any more. Raises: PermanentError NOT_FOUND."""
    alert = await get_alert(context, viewer, id)
    kind = "alert.ack" if taken else "alert.unack"
    args = {"alert": id, "note": note or ""}
    return await ask(context, viewer, kind=kind, to="alerts", target=id, account=alert["account"], args=args)


async def told(context: Context, viewer: Viewer, id: str) -> list[dict[str, Any]]:
    """The newest messages that tell of an alert, without addresses: who, by what, when, and what became of them; each
    with `what` it says of this alert.

    Raises: PermanentError NOT_FOUND.
    """
    await get_alert(context, viewer, id)
    wanted = {"items.alert": id}
    fields = {
        **dict.fromkeys(("recipient", "kind", "channel", "state", "opened_at", "closed_at", "sent_at", "reason"), 1),
        **dict.fromkeys(("due_at", "failed", "maybe_repeat"), 1), "attempts": {"$slice": -1},
        "items": {"$filter": {"input": "$items", "cond": {"$eq": ["$$this.alert", id]}}},
    }  # fmt: skip
    found = (
        context.mongo["notifications"]
        .find(wanted, fields)
        .sort("opened_at", -1)
        .hint("alert")
        .limit(TOLD_MAX)
        .max_time_ms(QUERY_TIME_MS_MAX)
    )
    documents = [dict(one) async for one in found]
    return [{**one, "what": [item["what"] for item in one["items"]]} for one in documents]


async def list_rules(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """Rules, the last changed first: the installation's, which all may see, and those of the viewer's accounts."""
    query = viewer.account_filter(account)
    if account is None and not viewer.everywhere:
        query = {"account": {"$in": [*viewer.accounts, None]}}
    return await list_page(context, "rules", query, by="updated_at", limit=limit, cursor=cursor)


async def get_rule(context: Context, viewer: Viewer, id: str) -> dict[str, Any]:
    """One rule. Raises: PermanentError NOT_FOUND."""
    document = await context.mongo["rules"].find_one({"_id": id})
    if document is not None and document.get("account") is None:
        return dict(document)
    return found(document, viewer, f"rule {id}")


async def put_rule(context: Context, viewer: Viewer, id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Make a rule, or change it; it counts within seconds.

    Raises: PermanentError NOT_FOUND (account), INVALID_INPUT, TOO_MANY.
    """
    account = id.partition("/")[0] if "/" in id else None
    await _check_account(context, viewer, account)
    old = await context.mongo["rules"].find_one({"_id": id})
    try:
        rule = parse_rule({**fields, "_id": id, "account": account, "rev": int((old or {}).get("rev", 0)) + 1})
    except BadRule as error:
        raise PermanentError(ErrorCode.INVALID_INPUT, str(error)) from error
    if old is None:
        await _check_count(context, account)
    document = rule_document(rule, at=now(), by=viewer.name)
    await context.mongo["rules"].replace_one({"_id": id}, document, upsert=True)
    await audit(context.mongo, by=viewer.name, action="rule.put", target=id, account=account, details=dict(fields))
    return document


async def delete_rule(context: Context, viewer: Viewer, id: str) -> None:
    """Remove a rule; its open alerts are resolved.

    Raises: PermanentError NOT_FOUND, CONFLICT (one of those that every installation has: disable it).
    """
    rule = await get_rule(context, viewer, id)
    await _check_account(context, viewer, rule["account"])
    if id in _DEFAULT_NAMES:
        raise PermanentError(ErrorCode.CONFLICT, f"{id} would come back at the next start; set enabled: false instead")
    await context.mongo["rules"].delete_one({"_id": id})
    await audit(context.mongo, by=viewer.name, action="rule.delete", target=id, account=rule["account"])


async def _check_count(context: Context, account: str | None) -> None:
    """Raises: PermanentError TOO_MANY; alerts looks at no more than RULES_MAX rules."""
    if await context.mongo["rules"].count_documents({"account": account}) >= RULES_PER_ACCOUNT_MAX:
        text = f"an account, and the installation, have at most {RULES_PER_ACCOUNT_MAX} rules; remove one"
        raise PermanentError(ErrorCode.TOO_MANY, text)
    if await context.mongo["rules"].count_documents({}) >= RULES_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"all accounts together have at most {RULES_MAX} rules; remove one")


async def _check_account(context: Context, viewer: Viewer, account: str | None) -> None:
    if account is None:
        if not viewer.everywhere:
            raise PermanentError(ErrorCode.FORBIDDEN, "rules of the installation are changed by who sees all accounts")
    elif not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
