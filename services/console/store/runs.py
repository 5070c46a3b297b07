"""Runs and their journals: reading; an abort goes to the executor as a command.

Called by: api/runs.py, pages. Owns nothing: runs belong to the scheduler (opening) and the executor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.core.journal import view_steps
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.domain.run_state import FINAL, RunState
from shared.errors import ErrorCode, PermanentError

REPLIES_BEHIND_MAX = 8
"""Entries read beyond a page of steps: the reply to its last instruction stands in one of them."""
EVIDENCE_PER_RUN_MAX = 2000


@dataclass(frozen=True)
class Steps:
    """A page of a run's journal."""

    items: list[dict[str, Any]]
    next: int | None
    """The seq that the next page begins after, or none at the end."""


async def list_runs(
    context: Context,
    viewer: Viewer,
    *,
    account: str | None = None,
    workflow: str | None = None,
    worker: str | None = None,
    task: str | None = None,
    state: RunState | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listed:
    """Runs that match, newest first."""
    query = await seen_accounts(context, viewer, account)
    if task is not None:
        query["tasks.task"] = task
    wanted = {"workflow": workflow, "worker": worker, "state": state.value if state else None}
    query.update({name: value for name, value in wanted.items() if value is not None})
    return await list_page(context, "runs", query, by="opened_at", limit=limit, cursor=cursor)


async def get_run(context: Context, viewer: Viewer, run: str) -> dict[str, Any]:
    """One run, in the archive too.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["runs"].find_one({"_id": run})
    document = document or await context.mongo["archive_runs"].find_one({"_id": run})
    return found(document, viewer, f"run {run}")


async def run_files(context: Context, viewer: Viewer, run: str) -> dict[str, str]:
    """Texts of the version that a run executes; none where it is not known."""
    document = await context.mongo["runs"].find_one({"_id": run}, {"account": 1, "version": 1})
    if document is None or not viewer.sees(document["account"]):
        return {}
    version = await context.mongo["versions"].find_one({"_id": document.get("version")}, {"files": 1})
    return dict((version or {}).get("files") or {})


async def list_steps(context: Context, viewer: Viewer, run: str, *, after: int = 0, limit: int = 200) -> Steps:
    """The journal's entries behind seq `after`, each instruction with its outcome and evidence.

    Raises: PermanentError NOT_FOUND.
    """
    await get_run(context, viewer, run)
    entries = await _entries(context, run, after, limit + REPLIES_BEHIND_MAX)
    if not entries:
        return Steps([], None)
    last = entries[min(limit, len(entries)) - 1]["seq"]
    links = context.mongo["evidence_links"].find({"run": run, "seq": {"$gt": after, "$lte": last}})
    evidence = [dict(one) async for one in links.sort([("seq", 1), ("_id", 1)]).limit(EVIDENCE_PER_RUN_MAX)]
    views = [view for view in view_steps(entries, evidence) if view["seq"] <= last]
    return Steps(views, last if len(entries) > limit else None)


async def _entries(context: Context, run: str, after: int, limit: int) -> list[dict[str, Any]]:
    """By range of _id, which is (run, seq): the journal needs no other index."""
    query = {"_id": {"$gt": f"{run}/{after:08d}", "$lt": f"{run}0"}}
    for steps in ("steps", "archive_steps"):
        cursor = context.mongo[steps].find(query, {"snapshot": 0}).sort("_id", 1).limit(limit)
        found_here = [dict(one) async for one in cursor]
        if found_here:
            return found_here
    return []


async def list_evidence(
    context: Context, viewer: Viewer, task: str | None, *, run: str | None = None
) -> list[dict[str, Any]]:
    """Evidence of one task over all its attempts, or of one run, oldest first."""
    query: dict[str, Any] = {"task": task} if task is not None else {"run": run}
    if not viewer.everywhere:
        query["account"] = {"$in": list(viewer.accounts)}
    cursor = context.mongo["evidence_links"].find(query).sort([("at", 1), ("_id", 1)]).limit(200)
    return [dict(one) async for one in cursor]


async def abort(context: Context, viewer: Viewer, run: str, reason: str) -> Asked:
    """Ask for a run to be ended early.

    Raises: PermanentError NOT_FOUND, FINAL.
    """
    return await _end(context, viewer, run, "run.abort", reason)


async def stop(context: Context, viewer: Viewer, run: str, reason: str) -> Asked:
    """Ask for a run to end after the task in hand; its other tasks go back as they were.

    Raises: PermanentError NOT_FOUND, FINAL.
    """
    return await _end(context, viewer, run, "run.stop", reason)


async def _end(context: Context, viewer: Viewer, run: str, kind: str, reason: str) -> Asked:
    document = await get_run(context, viewer, run)
    if RunState(document["state"]) in FINAL:
        raise PermanentError(ErrorCode.FINAL, f"the run is {document['state']} already")
    account = document["account"]
    return await ask(context, viewer, kind=kind, to="executor", target=run, account=account, args={"reason": reason})
