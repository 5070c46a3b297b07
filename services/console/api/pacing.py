"""Adaptive waits of a workflow: GET /api/v1/workflows/{account}/{name}/pacing, POST .../pacing/reset and /freeze."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, problems
from services.console.api.models import Action, Body, NamePath, View
from services.console.store import pacing as store

router = APIRouter(tags=["workflows"], responses=problems(409))

PLACE_LENGTH_MAX = 300


class CountsView(View):
    """What was seen so far."""

    samples: int = Field(description="Instructions.")
    failures: int = Field(description="Those that failed in a way that a longer pause may cure.")
    found: int = Field(description="Waits that were not in vain.")
    missed: int = Field(description="Waits in vain.")
    found_mean_s: float | None = Field(description="How long what came took on average, seconds.")
    found_max_s: float | None = Field(description="The longest.")


class PauseView(CountsView):
    """A pause that is learned."""

    pause_s: float = Field(description="The pause before the next instruction, seconds.")
    trend: str = Field(description="steady; lowered: a shorter pause on probation; raised: a longer one on trial.")
    floor_s: float | None = Field(description="A pause that failed: not tried again for a while.")


class RobotPace(PauseView):
    """One robot at a place."""

    robot: str = Field(description="Its id.")


class ObjectPace(CountsView):
    """One object at a place."""

    object: str = Field(description="Its name in objects.yaml.")
    found_nearly_all_s: float | None = Field(description="Within which time 999 of 1,000 came, rounded up, seconds.")


class PlacePace(PauseView):
    """One instruction at one line of a script."""

    place: str = Field(description="script:function:line:instruction.")
    found_nearly_all_s: float | None = Field(description="Within which time 999 of 1,000 came, rounded up, seconds.")
    floor_until_hours: float | None = Field(description="Robot hours at which the floor is forgotten.")
    frozen: bool = Field(description="Nothing is learned here.")
    seen_at: datetime | None = Field(description="When something was learned here last.")
    robots: list[RobotPace] = Field(description="The last robots there, the latest one last.")
    objects: list[ObjectPace] = Field(description="The last objects there, the latest one last.")


class PacingView(View):
    """What is learned of a workflow's waits."""

    mode: str = Field(description="learn, frozen or off, as set.")
    frozen: bool = Field(description="Nothing is learned in the whole workflow.")
    robot_hours: float = Field(description="Hours that its robots have worked.")
    places: list[PlacePace] = Field(description="By place.")


class ResetRequest(Body):
    """What to forget."""

    place: str | None = Field(default=None, max_length=PLACE_LENGTH_MAX, description="Only this place; null: all.")


class FreezeRequest(ResetRequest):
    """What to freeze, or to let learn again."""

    on: bool = Field(description="true: learn no more.")


@router.get("/workflows/{account}/{name}/pacing")
async def get_pacing(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> PacingView:
    """How long its scripts wait at each place, and what that was learned from."""
    return PacingView.of(await store.get_pacing(context, viewer, account, name))


@router.post("/workflows/{account}/{name}/pacing/reset")
async def reset(
    account: NamePath,
    name: NamePath,
    viewer: Operator,
    context: ContextOf,
    response: Response,
    body: ResetRequest | None = None,
) -> Action:
    """Forget what was learned, at one place or everywhere."""
    return action(response, await store.reset(context, viewer, account, name, body.place if body else None))


@router.post("/workflows/{account}/{name}/pacing/freeze")
async def freeze(
    account: NamePath, name: NamePath, viewer: Operator, context: ContextOf, response: Response, body: FreezeRequest
) -> Action:
    """Learn no more (or again), at one place or everywhere; waits go on as they are."""
    return action(response, await store.freeze(context, viewer, account, name, body.place, body.on))
