"""Workflows that are held: POST /api/v1/workflows/{account}/{name}/hold and /release."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator
from services.console.api.answers import action, problems
from services.console.api.models import Action, HoldRequest, NamePath
from services.console.store import circuits as store
from shared.domain.gates import HoldMode

router = APIRouter(tags=["workflows"], responses=problems(409))


class WorkflowHold(HoldRequest):
    """Why a workflow is held, and what becomes of its runs."""

    mode: HoldMode = Field(
        default=HoldMode.STOP,
        description="Runs at work: pause (go on to their end), stop (finish the task in hand) or abort (end now).",
    )


@router.post("/workflows/{account}/{name}/hold")
async def hold(
    account: NamePath,
    name: NamePath,
    viewer: Operator,
    context: ContextOf,
    response: Response,
    body: WorkflowHold | None = None,
) -> Action:
    """Let a workflow take no more tasks until it is released; a held one may be held again in another mode."""
    wanted = body or WorkflowHold()
    return action(response, await store.hold(context, viewer, account, name, wanted.text, wanted.mode))


@router.post("/workflows/{account}/{name}/release")
async def release(
    account: NamePath, name: NamePath, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Let a held workflow take tasks again, whatever it was held for."""
    return action(response, await store.release(context, viewer, account, name))
