"""Questions that scripts ask people: reading them, answering them, and their links.

Called by: api/decisions.py, pages. Owns nothing: decisions belong to the executor, which is asked by the durable
request `decision.answer` and has the last word. Survives a crash: the request is a document. Change also:
shared/domain/decision.py.
"""

from __future__ import annotations

import hmac
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask, ask_as
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.domain.decision import LINK, PURPOSE, DecisionState, address_of, id_of, link_url, refusal
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit

KIND = "decision.answer"
COUNTED_MAX = 100
COUNT_KEPT_S = 2.0


async def list_decisions(
    context: Context,
    viewer: Viewer,
    *,
    account: str | None = None,
    workflow: str | None = None,
    state: DecisionState | None = None,
    run: str | None = None,
    task: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listed:
    """Decisions that match, the newest first."""
    query = await seen_accounts(context, viewer, account)
    wanted = {"workflow": workflow, "state": state.value if state else None, "run": run, "task": task}
    query.update({name: value for name, value in wanted.items() if value is not None})
    return await list_page(context, "decisions", query, by="asked_at", limit=limit, cursor=cursor)


async def count_open(context: Context, viewer: Viewer) -> int:
    """Decisions that wait, in the viewer's accounts; at most COUNTED_MAX, which means 'or more'."""
    query = {**await seen_accounts(context, viewer), "state": DecisionState.OPEN.value}

    async def count() -> int:
        return int(await context.mongo["decisions"].count_documents(query, limit=COUNTED_MAX))

    number: int = await context.moment.get(f"decisions/{','.join(sorted(viewer.accounts))}", count, COUNT_KEPT_S)
    return number


async def get_decision(context: Context, viewer: Viewer, address: str) -> dict[str, Any]:
    """One decision, by its id as addresses write it.

    Raises: PermanentError NOT_FOUND.
    """
    return found(await _read(context, id_of(address)), viewer, f"decision {address}")


async def answer(context: Context, viewer: Viewer, address: str, text: str) -> Asked:
    """Ask the executor to take an answer.

    Raises: PermanentError NOT_FOUND, FINAL when it is not open any more, INVALID_INPUT when it is none of its options.
    """
    decision = await get_decision(context, viewer, address)
    check(decision, text)
    account = decision["account"]
    return await ask(
        context, viewer, kind=KIND, to="executor", target=decision["_id"], account=account, args={"answer": text}
    )


async def link_of(context: Context, viewer: Viewer, address: str) -> str:
    """The address under which anybody who has it may answer; that it was handed out is audited.

    Raises: PermanentError NOT_FOUND.
    """
    decision = await get_decision(context, viewer, address)
    id, account = str(decision["_id"]), decision["account"]
    await audit(context.mongo, by=viewer.name, action="decision.link", target=id, account=account)
    return link_url(context.settings.console_url, address_of(id), token_of(context, id))


def token_of(context: Context, id: str) -> str:
    """What a decision's link holds, so that only who was sent it can use it."""
    return context.sealer.derive(PURPOSE, id)


def opens(context: Context, id: str | None, token: str) -> bool:
    """Whether a token is the one of this decision; takes as long for a wrong one, and asks no database."""
    expected = token_of(context, id or "")
    right = hmac.compare_digest(expected.encode(), token.encode(errors="replace"))
    return right and id is not None


async def find_by_link(context: Context, id: str) -> dict[str, Any] | None:
    """A decision whose link's token was right, with the time zone that its people live in."""
    decision = await _read(context, id)
    return None if decision is None else {**decision, "zone": await _zone(context, decision)}


async def answer_by_link(context: Context, decision: dict[str, Any], text: str, address: str) -> Asked:
    """As answer, for who came by the link from a network address; an answer that is on its way already counts.

    Raises: PermanentError FINAL, INVALID_INPUT.
    """
    check(decision, text)
    sent = await answer_on_its_way(context, decision["_id"])
    if sent is not None:
        return Asked(str(sent["_id"]), "pending", None)
    return await ask_as(
        context, LINK, kind=KIND, to="executor", target=decision["_id"], account=decision["account"],
        args={"answer": text}, details={"address": address},
    )  # fmt: skip


async def answer_on_its_way(context: Context, id: str) -> dict[str, Any] | None:
    """The request with an answer that the executor has not looked at yet."""
    return await context.mongo["commands"].find_one(
        {"target": id, "kind": KIND, "state": "pending"}, sort=[("created_at", -1)]
    )


def check(decision: dict[str, Any], text: str) -> None:
    """Refuse early what the executor would refuse.

    Raises: PermanentError FINAL, INVALID_INPUT.
    """
    reason = refusal(decision, text)
    if reason is not None:
        code = ErrorCode.INVALID_INPUT if decision["state"] == DecisionState.OPEN else ErrorCode.FINAL
        raise PermanentError(code, reason)


async def _read(context: Context, id: str | None) -> dict[str, Any] | None:
    return None if id is None else await context.mongo["decisions"].find_one({"_id": id})


async def _zone(context: Context, decision: dict[str, Any]) -> str:
    """The workflow's time zone, else its account's."""
    account, workflow = decision["account"], decision["workflow"]
    for collection, id in (("workflows", f"{account}/{workflow}"), ("accounts", account)):
        document = await context.mongo[collection].find_one({"_id": id}, {"settings.timezone": 1})
        zone = ((document or {}).get("settings") or {}).get("timezone")
        if zone:
            return str(zone)
    return "UTC"
