"""Sources of tasks: their settings, which people write here; what the collector does with them is read.

Owns, with the collector: collection sources. Called by: api/sources.py, pages. The console writes title, workflow,
kind, settings, enabled, since (times before it count for nothing), rev (each change of what a look goes by), next_at
when the source is to be looked at because of a change, and cursor when a person sets it; a look that was under way is
dropped at its next write, because rev is another one. Everything else is the collector's. Change also:
services/collector/sources, section 'Data' of ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.intake.source_settings import AnySettings, BadSettings, read_settings
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.obs.ids import new_id

SOURCES_PER_ACCOUNT_MAX = 500
RUN_WAIT_S, TRY_WAIT_S = 10.0, 25.0
HIDDEN = {"owed": 0, "op": 0}
_FRESH: dict[str, Any] = {
    "cursor": None, "position": None, "owed": [], "unacknowledged": [], "fired": None, "failures": 0, "down": None,
    "counters": {},
}  # fmt: skip
"""The state of a source that nobody has looked at yet."""


@dataclass(frozen=True)
class Tried:
    """A trial, and its report once it is done."""

    asked: Asked
    report: Mapping[str, Any] | None


def _begins_anew(old: Mapping[str, Any], settings: Mapping[str, Any], enabled: bool) -> bool:
    """Whether times before now don't count any more. One that is due already stays due when anything else changes."""
    other_times = old["settings"].get("schedule") != settings.get("schedule") or old["kind"] != settings["kind"]
    return other_times or (enabled and not old["enabled"])


async def _dropped(old: Mapping[str, Any] | None, at: datetime) -> dict[str, Any]:
    """Times of a timer that had come and were not done with: a change that lets them go says so in the audit."""
    if old is None or old["kind"] != "timer" or not old["enabled"]:
        return {}
    try:
        clock = read_settings({**old["settings"], "kind": "timer"}).schedule.clock()
    except BadSettings:  # of another release; the look said so
        return {}
    after = max(old["since"], old.get("fired") or old["since"]).astimezone(UTC)
    latest = await asyncio.to_thread(clock.latest, after, at) if clock is not None else None
    if clock is None or latest is None:
        return {}
    return {"dropped": {"count": await asyncio.to_thread(clock.count, after, latest), "latest": latest}}


async def list_sources(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """Sources, the last changed first."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(context, "sources", query, by="updated_at", limit=limit, cursor=cursor, projection=HIDDEN)


async def get_source(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One source. Raises: PermanentError NOT_FOUND."""
    document = await context.mongo["sources"].find_one({"_id": f"{account}/{name}"}, HIDDEN)
    return found(document, viewer, f"source {account}/{name}")


async def source_log(
    context: Context, viewer: Viewer, account: str, name: str, limit: int, cursor: str | None
) -> Listed:
    """Its looks, newest first; also those of a source that was removed. Raises: PermanentError NOT_FOUND."""
    if not viewer.sees(account):
        raise PermanentError(ErrorCode.NOT_FOUND, f"source {account}/{name} does not exist")
    query = {"source": f"{account}/{name}"}
    return await list_page(context, "source_log", query, by="at", limit=limit, cursor=cursor)


async def put_source(
    context: Context, viewer: Viewer, account: str, name: str, settings: AnySettings, *, title: str, workflow: str,
    enabled: bool,
) -> dict[str, Any]:  # fmt: skip
    """Make a source, or change it; its cursor and counters stay, unless it becomes one of another kind.

    Raises: PermanentError NOT_FOUND (account, workflow), TOO_MANY.
    """
    await _check_place(context, viewer, account, workflow)
    id, at = f"{account}/{name}", now()
    old = await context.mongo["sources"].find_one({"_id": id})
    if old is None and await context.mongo["sources"].count_documents({"account": account}) >= SOURCES_PER_ACCOUNT_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"an account has at most {SOURCES_PER_ACCOUNT_MAX} sources")
    plain = settings.model_dump(mode="json")
    fields: dict[str, Any] = {
        "title": title, "workflow": workflow, "kind": settings.kind, "settings": plain, "enabled": enabled,
        "updated_at": at, "updated_by": viewer.name, "rev": new_id("rev_"), "next_at": at if enabled else None,
        "position": None,
    }  # fmt: skip
    if old is None or old["kind"] != settings.kind:
        fields = {**_FRESH, **fields}
    dropped: dict[str, Any] = {}
    if old is None or _begins_anew(old, plain, enabled):
        fields["since"] = at
        dropped = await _dropped(old, at)
    elif not enabled:
        dropped = await _dropped(old, at)
    first = {"schema_version": 1, "account": account, "name": name, "token": 0, "created_at": at}
    await context.mongo["sources"].update_one({"_id": id}, {"$set": fields, "$setOnInsert": first}, upsert=True)
    details = {"kind": settings.kind, "workflow": workflow, "enabled": enabled, **dropped}
    await audit(context.mongo, by=viewer.name, action="source.put", target=id, account=account, details=details)
    return await get_source(context, viewer, account, name)


async def switch_source(context: Context, viewer: Viewer, account: str, name: str, *, on: bool) -> dict[str, Any]:
    """Switch a source on or off. What a timer missed meanwhile is not caught up: it was off.

    Raises: PermanentError NOT_FOUND.
    """
    document, at = await get_source(context, viewer, account, name), now()
    if document["enabled"] != on:
        fields = {"enabled": on, "next_at": at if on else None, "rev": new_id("rev_"), **({"since": at} if on else {})}
        dropped = {} if on else await _dropped(document, at)
        await _change(context, viewer, document, fields, "source.enable" if on else "source.disable", dropped)
    return await get_source(context, viewer, account, name)


async def set_cursor(context: Context, viewer: Viewer, account: str, name: str, cursor: Any) -> dict[str, Any]:
    """Have the next look begin elsewhere; null: at the beginning. What is taken twice so is there before.

    Raises: PermanentError NOT_FOUND, CONFLICT (it has none).
    """
    document = await get_source(context, viewer, account, name)
    if not document["settings"].get("cursor"):
        raise PermanentError(ErrorCode.CONFLICT, "this source keeps no cursor")
    fields = {"cursor": cursor, "position": None, "rev": new_id("rev_")}
    if document["enabled"]:
        fields["next_at"] = now()
    details = {"before": document.get("cursor"), "cursor": cursor}
    await _change(context, viewer, document, fields, "source.cursor", details)
    return await get_source(context, viewer, account, name)


async def delete_source(context: Context, viewer: Viewer, account: str, name: str) -> None:
    """Remove a source; a look under way takes what it has in hand, and no more. Its tasks and its log stay.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_source(context, viewer, account, name)
    await context.mongo["sources"].delete_one({"_id": document["_id"]})
    target = str(document["_id"])
    await audit(context.mongo, by=viewer.name, action="source.delete", target=target, account=account)


async def run_source(context: Context, viewer: Viewer, account: str, name: str) -> Asked:
    """Have it looked at now, also when it is switched off; waits RUN_WAIT_S for the end of the look.

    Raises: PermanentError NOT_FOUND.
    """
    id = str((await get_source(context, viewer, account, name))["_id"])
    return await ask(
        context, viewer, kind="source.run", to="collector", target=id, account=account, wait_s=RUN_WAIT_S
    )  # fmt: skip


async def try_source(
    context: Context, viewer: Viewer, account: str, name: str, settings: AnySettings | None, workflow: str | None
) -> Tried:
    """See what a look would bring: fetched and mapped, nothing stored, moved or acknowledged. settings: of a source
    that isn't stored (so), for its workflow; none: of the stored one.

    Raises: PermanentError NOT_FOUND.
    """
    args: dict[str, Any] = {"account": account}
    if settings is None:
        await get_source(context, viewer, account, name)
    else:
        await _check_place(context, viewer, account, str(workflow))
        args |= {"settings": settings.model_dump(mode="json"), "kind": settings.kind, "workflow": workflow}
    target = f"{account}/{name}"
    asked = await ask(
        context, viewer, kind="source.try", to="collector", target=target, account=account, args=args,
        wait_s=TRY_WAIT_S,
    )  # fmt: skip
    return Tried(asked, _report(asked.progress))


async def get_trial(context: Context, viewer: Viewer, account: str, name: str, command: str) -> Tried:
    """A trial that was asked for before. Raises: PermanentError NOT_FOUND."""
    query = {"_id": command, "kind": "source.try", "target": f"{account}/{name}"}
    document = await context.mongo["commands"].find_one(query)
    if document is None or not viewer.sees(account):
        raise PermanentError(ErrorCode.NOT_FOUND, f"there is no trial {command}; ended ones are kept for 30 days")
    asked = Asked(command, document["state"], document.get("reason"), document.get("progress"))
    return Tried(asked, _report(asked.progress))


async def _check_place(context: Context, viewer: Viewer, account: str, workflow: str) -> None:
    mongo = context.mongo
    if not viewer.sees(account) or await mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    if await mongo["workflows"].find_one({"_id": f"{account}/{workflow}"}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"workflow {account}/{workflow} does not exist; publish it first")


async def _change(
    context: Context, viewer: Viewer, document: Mapping[str, Any], fields: Mapping[str, Any], action: str,
    details: Mapping[str, Any],
) -> None:  # fmt: skip
    id = str(document["_id"])
    changes = {**fields, "updated_at": now(), "updated_by": viewer.name}
    await context.mongo["sources"].update_one({"_id": id}, {"$set": changes})
    account = str(document["account"])
    await audit(context.mongo, by=viewer.name, action=action, target=id, account=account, details=details)


def _report(progress: Mapping[str, Any] | None) -> dict[str, Any] | None:
    text = (progress or {}).get("report")
    return json.loads(text) if text else None
