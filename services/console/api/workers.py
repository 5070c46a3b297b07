"""Robots: GET /api/v1/workers, and what people decide about one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, page_of, problems
from services.console.api.models import PAGE_SIZE, Action, Body, CursorQuery, Id, IdPath, LimitQuery, Name, Page, View
from services.console.api.settings_change import without_defaults
from services.console.store import workers as store
from shared.contracts.settings_file import WorkerConfig
from shared.domain.worker_state import Authorisation, WorkerMode

router = APIRouter(tags=["workers"], responses=problems())


class WorkerView(View):
    """A robot."""

    id: Id
    name: str | None = Field(default=None, description="What its machine calls itself.")
    account: str | None = Field(default=None, description="Whose it is; null: shared.")
    addresses: list[str] = Field(default_factory=list, description="All its MAC addresses.")
    os: str | None = Field(default=None, description="Its operating system.")
    agent_version: str | None = Field(default=None, description="Version of its agent.")
    opens_sealed: bool = Field(default=False, description="Its agent opens sealed arguments; else no secrets.")
    drivers: list[Any] = Field(default_factory=list, description="What it can act on.")
    authorisation: Authorisation = Field(description="pending, authorised or revoked.")
    authorised_by: str | None = Field(default=None, description="Who said yes.")
    authorised_at: datetime | None = Field(default=None, description="When.")
    doubt: dict[str, Any] | None = Field(default=None, description="{reason, at}: why it was put back.")
    connected: bool = Field(default=False, description="Its heartbeats arrive.")
    status: str | None = Field(default=None, description="waiting, reserved, running, paused or stopped.")
    mode: str | None = Field(default=None, description="run, pause, stop or abort.")
    epoch: int | None = Field(default=None, description="Raised by each reservation.")
    run: str | None = Field(default=None, description="The run that it is reserved for.")
    warm: bool = Field(default=False, description="Its run is kept warm: set up, with nothing in hand.")
    seen: dict[str, Any] | None = Field(default=None, description="Its last heartbeat.")
    tags: list[str] = Field(default_factory=list, description="What it has.")
    workflows: list[str] | None = Field(default=None, description="Only these, as account/name; null: all.")
    exclusive: str | None = Field(default=None, description="Exclusive mode: this workflow only.")
    schedule: dict[str, Any] | None = Field(default=None, description="When it may work; null: always.")
    quarantine: dict[str, Any] | None = Field(default=None, description="{until, times, reason, at}: no work.")
    failures: int = Field(default=0, description="Failures in a row.")
    drain: dict[str, Any] | None = Field(default=None, description="{by, at}: it ends the run in hand, then stops.")
    enrolled_at: datetime | None = Field(default=None, description="When it first asked.")


class AuthoriseRequest(Body):
    """Whose robot it becomes."""

    account: Name | None = Field(default=None, description="An account; null: shared by all.")


class WorkerConfigChange(WorkerConfig):
    """What work a robot takes; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=without_defaults)


class ModeRequest(Body):
    """What is wanted of a robot, until a person wants something else."""

    mode: WorkerMode = Field(description="run, pause, stop (finishes the task) or abort (cuts the instruction).")


@router.get("/workers")
async def list_workers(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    authorisation: Annotated[Authorisation | None, Query(description="Only in this state.")] = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[WorkerView]:
    """The robots of your accounts, and the shared ones."""
    workers = await store.list_workers(context, viewer)
    if authorisation is not None:
        workers = [one for one in workers if one.get("authorisation") == authorisation]
    return page_of(response, [WorkerView.of(one) for one in workers], [one["_id"] for one in workers], limit, cursor)


@router.get("/workers/{worker}")
async def get_worker(worker: IdPath, viewer: Reader, context: ContextOf) -> WorkerView:
    """One robot."""
    return WorkerView.of(await store.get_worker(context, viewer, worker))


@router.post("/workers/{worker}/authorise", responses=problems(409))
async def authorise(
    worker: IdPath, viewer: Operator, context: ContextOf, response: Response, body: AuthoriseRequest | None = None
) -> Action:
    """Let a robot connect and take work. Without a body its account stays as it is."""
    args = body.model_dump(exclude_unset=True) if body else {}
    return action(response, await store.authorise(context, viewer, worker, args))


@router.post("/workers/{worker}/revoke", responses=problems(409))
async def revoke(worker: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Take a robot's authorisation away and cut its connection."""
    return action(response, await store.request(context, viewer, worker, "revoke"))


@router.post("/workers/{worker}/mode", responses=problems(409))
async def set_mode(
    worker: IdPath, body: ModeRequest, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Let a robot run, pause or stop."""
    return action(response, await store.request(context, viewer, worker, "mode", {"mode": body.mode.value}))


@router.post("/workers/{worker}/config", responses=problems(409))
async def configure(
    worker: IdPath, body: WorkerConfigChange, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Say what work a robot takes; what is left out stays."""
    config = body.model_dump(mode="json", exclude_unset=True)
    return action(response, await store.configure(context, viewer, worker, config))


@router.post("/workers/{worker}/drain", responses=problems(409))
async def drain(worker: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Let a robot finish the run in hand and then stop."""
    return action(response, await store.request(context, viewer, worker, "drain"))


@router.post("/workers/{worker}/release", responses=problems(409))
async def release(worker: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """End a robot's quarantine."""
    return action(response, await store.request(context, viewer, worker, "release"))


@router.delete("/workers/{worker}", responses=problems(409))
async def remove(worker: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Forget a robot; it may ask again."""
    return action(response, await store.request(context, viewer, worker, "remove"))
