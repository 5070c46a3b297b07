"""Workflows that are held: POST /api/v1/workflows/{account}/{name}/hold and /release."""

from __future__ import annotations

from fastapi import APIRouter, Response

from services.console.api.access import ContextOf, Operator
from services.console.api.answers import action, problems
from services.console.api.models import Action, HoldRequest, NamePath
from services.console.store import circuits as store

router = APIRouter(tags=["workflows"], responses=problems(409))


@router.post("/workflows/{account}/{name}/hold")
async def hold(
    account: NamePath,
    name: NamePath,
    viewer: Operator,
    context: ContextOf,
    response: Response,
    body: HoldRequest | None = None,
) -> Action:
    """Let a workflow take no more tasks until it is released; what runs goes on."""
    return action(response, await store.hold(context, viewer, account, name, body.text if body else ""))


@router.post("/workflows/{account}/{name}/release")
async def release(
    account: NamePath, name: NamePath, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Let a held workflow take tasks again, whatever it was held for."""
    return action(response, await store.release(context, viewer, account, name))
