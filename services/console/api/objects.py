"""The objects of a workflow: GET /api/v1/workflows/{account}/{name}/objects."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import problems
from services.console.api.models import NamePath, View
from services.console.store import objects as store
from shared.domain.objects import Reason, SelectorState

router = APIRouter(tags=["workflows"], responses=problems())

EnvironmentQuery = Annotated[
    str | None,
    Query(
        pattern=r"^(-|[a-z0-9][a-z0-9_-]{0,62})$", description="Of this environment; -: of none; else of the one set."
    ),
]


class SelectorView(View):
    """One selector, in the order in which they are tried."""

    selector: str = Field(description="Such as css=#search.")
    matched: int = Field(description="How often it was the first that matched.")
    last_at: datetime | None = Field(description="When it last did.")
    state: SelectorState = Field(description="What the newest uses say: matches, stale, untried or unknown.")


class ObjectView(View):
    """A named element of the current version, and how it is found."""

    name: str = Field(description="As scripts name it.")
    title: str = Field(description="For people.")
    selectors: list[SelectorView] = Field(description="Those of the environment.")
    overridden: bool = Field(description="They are the environment's own.")
    environments: list[str] = Field(description="Environments in which it has selectors of its own.")
    uses: int = Field(description="How often it was looked for, with these selectors.")
    misses: int = Field(description="How often none of them matched.")
    missed_at: datetime | None = Field(description="When that last happened.")
    used_at: datetime | None = Field(description="When it was last looked for.")
    stale: bool = Field(description="Somebody should look at it.")
    reason: Reason | None = Field(description="selector: an earlier one no longer matches; missing: none does; unused.")


class ObjectsView(View):
    """The objects of a workflow."""

    version: int | None = Field(description="Number of the current version.")
    environment: str | None = Field(description="Whose selectors are shown.")
    in_force: str | None = Field(description="The environment that new runs are opened in.")
    environments: list[str] = Field(description="All for which some object has selectors of its own.")
    items: list[ObjectView] = Field(description="By name.")


@router.get("/workflows/{account}/{name}/objects")
async def list_objects(
    account: NamePath, name: NamePath, viewer: Reader, context: ContextOf, environment: EnvironmentQuery = None
) -> ObjectsView:
    """Its objects with their selectors, how often each matched, and which have gone stale."""
    return ObjectsView.model_validate(await store.workflow_objects(context, viewer, account, name, environment))
