"""Workflows, reading: lists, versions and their files, under /api/v1/workflows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import page, page_of, problems
from services.console.api.models import PAGE_SIZE, AccountQuery, CursorQuery, Id, LimitQuery, NamePath, Page, View
from services.console.api.queue import HeldScenario
from services.console.store import workflows as store
from services.console.store.circuits import get_circuit, held_scenarios

router = APIRouter(tags=["workflows"], responses=problems())

NumberPath = Annotated[int, Path(ge=1, le=1_000_000, description="Number of the version.")]


class WorkflowView(View):
    """A workflow: its settings, and which version new runs take."""

    id: Id
    account: str = Field(description="Its account.")
    name: str = Field(description="Its name in the account.")
    title: str = Field(default="", description="For people.")
    current: int | None = Field(default=None, description="Number of the version that new runs take.")
    settings: dict[str, Any] = Field(description="How it is run.")
    updated_at: datetime | None = Field(default=None, description="Last change.")


class CircuitView(View):
    """Whether a workflow is held, and what led to it."""

    state: str = Field(description="open: held, it takes no tasks; closed: it takes tasks.")
    reason: str | None = Field(default=None, description="person, failures or login_rejected.")
    text: str | None = Field(default=None, description="What was said.")
    at: datetime | None = Field(default=None, description="When it was held or released.")
    by: str | None = Field(default=None, description="Who.")
    failures: int = Field(default=0, description="System failures in a row so far.")


class WorkflowWithCircuit(WorkflowView):
    """A workflow, and whether it is held."""

    circuit: CircuitView | None = Field(description="null: nothing ever went wrong with it.")
    held_scenarios: list[HeldScenario] = Field(description="Its scenarios whose setup failed again and again.")


class VersionRow(View):
    """A version, without its files."""

    id: Id
    number: int = Field(description="Its number: 1, 2, 3 ...")
    digest: str = Field(description="SHA-256 over its files.")
    title: str = Field(default="", description="For people.")
    timeouts: dict[str, float] = Field(description="Seconds.")
    scenarios: list[dict[str, Any]] = Field(description="Its scenarios.")
    published_at: datetime = Field(description="When.")
    published_by: str = Field(description="By whom.")


class VersionView(VersionRow):
    """A version with its files."""

    files: dict[str, str] = Field(description="Texts by their names.")
    input: dict[str, Any] = Field(description="JSON Schema of inputs.")
    objects: dict[str, Any] = Field(description="Named UI elements.")
    catalogue: int = Field(description="Version of the instruction catalogue.")


@router.get("/workflows")
async def list_workflows(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[WorkflowView]:
    """The workflows of your accounts."""
    views = [WorkflowView.of(one) for one in await store.list_workflows(context, viewer, account)]
    return page_of(response, views, [view.id for view in views], limit, cursor)


@router.get("/workflows/{account}/{name}")
async def get_workflow(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> WorkflowWithCircuit:
    """One workflow, and whether it is held."""
    document = await store.get_workflow(context, viewer, account, name)
    circuit = await get_circuit(context, account, name)
    held = [HeldScenario.of(one) for one in await held_scenarios(context, account, name)]
    shown = None if circuit is None else CircuitView.of(circuit)
    return WorkflowWithCircuit.of(document, circuit=shown, held_scenarios=held)


@router.get("/workflows/{account}/{name}/versions")
async def list_versions(
    account: NamePath,
    name: NamePath,
    viewer: Reader,
    context: ContextOf,
    response: Response,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[VersionRow]:
    """Its versions, newest first."""
    listed = await store.list_versions(context, viewer, account, name, limit, cursor)
    return page(response, [VersionRow.of(one) for one in listed.items], listed.next)


@router.get("/workflows/{account}/{name}/versions/{number}")
async def get_version(
    account: NamePath, name: NamePath, number: NumberPath, viewer: Reader, context: ContextOf
) -> VersionView:
    """One version with its files."""
    return VersionView.of(await store.get_version(context, viewer, account, name, number))
