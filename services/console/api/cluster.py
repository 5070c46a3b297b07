"""The installation: GET /api/v1/cluster and /api/v1/dead-letters, for users of all accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import page, problems
from services.console.api.models import Page, TextQuery, View
from services.console.core.access import Viewer
from services.console.store import cluster as store
from shared.runtime.http import Problem

router = APIRouter(tags=["cluster"], responses=problems())


class ServiceHealth(View):
    """Whether a service answers."""

    service: str = Field(description="Its name.")
    url: str | None = Field(description="Where it was asked.")
    ready: bool = Field(description="Its broker and its database answer.")
    reason: str | None = Field(description="Why not.")
    answered_s: float | None = Field(description="How long the answer took, seconds.")


class LeaseView(View):
    """Who holds what."""

    id: str = Field(description="Kind and instance.")
    owner: str | None = Field(description="The holder.")
    token: int | None = Field(description="Raised by each takeover.")
    at: datetime | None = Field(description="Last sign of life, by the holder's clock.")


class QueueHealth(View):
    """One queue of the broker."""

    name: str = Field(description="Its name.")
    messages: int = Field(description="Messages in it.")
    unacknowledged: int = Field(description="Of these, handed out.")
    consumers: int = Field(description="Who reads it.")
    type: str = Field(description="quorum or classic.")


class BrokerHealth(View):
    """The broker."""

    connected: bool = Field(description="The console's own connection stands.")
    queues: list[QueueHealth] = Field(description="By name.")
    reason: str | None = Field(description="What is wrong.")


class DatabaseHealth(View):
    """The database."""

    ready: bool = Field(description="It has a primary.")
    primary: str | None = Field(description="Its address.")
    set: str | None = Field(description="Name of the replica set.")
    hosts: list[str] = Field(description="Its members.")
    reason: str | None = Field(description="What is wrong.")
    answered_s: float | None = Field(description="How long the answer took, seconds.")


class ClusterView(View):
    """The installation, as of a moment ago."""

    services: list[ServiceHealth] = Field(description="The services that the console knows of.")
    leases: list[LeaseView] = Field(description="Instances that hold something.")
    broker: BrokerHealth
    database: DatabaseHealth


class DeadLetter(View):
    """A message that could not be worked."""

    queue: str = Field(description="Where it lies.")
    died_in: str = Field(description="Where it died.")
    reason: str = Field(description="Why.")
    routing_key: str | None = Field(description="Its routing key.")
    message_id: str | None = Field(description="Its id.")
    payload: str = Field(description="Its bytes as text or base64, cut at 4,000.")
    payload_encoding: str | None = Field(description="string or base64.")
    size_bytes: int = Field(description="Its size.")


@router.get("/cluster")
async def cluster(viewer: Reader, context: ContextOf) -> ClusterView:
    """How services, broker and database stand."""
    _everywhere(viewer)
    return ClusterView.model_validate(await store.cluster(context))


@router.get("/dead-letters")
async def dead_letters(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    queue: TextQuery = None,
    limit: Annotated[int, Query(ge=1, le=store.PEEKED_MAX, description="Letters per queue.")] = 10,
) -> Page[DeadLetter]:
    """What could not be worked; it stays where it is."""
    _everywhere(viewer)
    letters = await store.dead_letters(context, queue, limit)
    return page(response, [DeadLetter.of(one) for one in letters], None)


def _everywhere(viewer: Viewer) -> None:
    if not viewer.everywhere:
        raise Problem(403, "the installation is shown to users of all accounts only")
