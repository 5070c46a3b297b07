"""HTTP for robots: enrolment. The only call that a machine without any right may make, so it is small and limited.

Called by: agents, over HTTP. Owns: the counts of requests per client address (lost at a restart, which does no harm).
Change also: ARCHITECTURE.md (Robots), the agent's enrolment.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.scheduler.config import SchedulerSettings
from services.scheduler.core.contact import Contact
from services.scheduler.core.enrolment import Answer
from services.scheduler.core.rate import Buckets
from services.scheduler.rights import Rights
from services.scheduler.robots import Enrolment, Robots
from services.scheduler.store.away import database_errors
from shared.contracts.topology import worker_user
from shared.errors import ErrorCode, PermanentError
from shared.obs.clock import monotonic_s
from shared.obs.metrics import counter

COUNTER_MAX = 2**53
REQUEST_SIZE_BYTES_MAX = 32 * 1024
ENROLMENTS = counter("regente_enrolments_total", "Requests to enrol, by answer.", ["answer"])

Address = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Short = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Journal(_Part):
    """Which journal the robot writes, and how far it is."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    counter: int = Field(ge=0, le=COUNTER_MAX)


class EnrolRequest(_Part):
    """What a robot says about itself."""

    worker: Address = Field(description="Its primary MAC address in hex: its id.")
    addresses: list[Address] = Field(max_length=64, description="All its MAC addresses.")
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="Made by the robot at its first start, and kept."
    )
    name: Short = Field(description="Its host name.")
    os: Short = Field(description="Operating system and version.")
    agent_version: Annotated[str, StringConstraints(max_length=100)] = Field(description="Version of the agent.")
    drivers: list[Short] = Field(max_length=32, description="What it can do: browser, screen, files, process.")
    journal: Journal
    session: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="Random id of its process."
    )
    epoch: int = Field(default=0, ge=0, le=COUNTER_MAX, description="The highest epoch it has seen.")
    opens_sealed: bool = Field(default=False, description="Whether it can open arguments that are sealed to it.")


class Amqp(_Part):
    """How to log in to the broker."""

    hosts: list[str]
    vhost: str
    user: str
    password: str
    tls: bool = Field(default=False, description="Whether these brokers speak TLS (amqps).")


class Pending(_Part):
    """A person has to authorise it; ask again."""

    state: Literal["pending"] = "pending"
    retry_after_s: float


class Authorised(_Part):
    """It may work."""

    state: Literal["authorised"] = "authorised"
    amqp: Amqp
    seal_key: str = Field(description="Opens arguments that are sealed to it: 32 bytes in base64url.")


def router(robots: Robots, rights: Rights, settings: SchedulerSettings) -> APIRouter:
    """The routes for robots."""
    routes = APIRouter(prefix="/v1/workers", tags=["robots"])
    buckets = Buckets(per_s=settings.enrol_per_s, burst=settings.enrol_burst)

    @routes.post("/enrol", summary="Ask for admission, or for the way to the broker", responses={
        403: {"description": "Refused; `detail` says why and what a person can do."},
        429: {"description": "Too many requests, or too many robots wait for a person."},
    })  # fmt: skip
    async def enrol(request: Request, body: EnrolRequest) -> Pending | Authorised:
        client = request.client.host if request.client else "?"
        if not buckets.take(client, monotonic_s()):
            ENROLMENTS.labels("limited").inc()
            raise PermanentError(
                ErrorCode.TOO_MANY, f"too many requests from {client}; wait a few seconds and ask again"
            )
        with database_errors():
            admission = await robots.enrol(_enrolment(body))
        ENROLMENTS.labels(admission.answer.value).inc()
        if admission.answer is Answer.REFUSED:
            raise PermanentError(ErrorCode.WORKER_REFUSED, f"robot {body.worker} is refused: {admission.detail}")
        if admission.answer is Answer.PENDING:
            return Pending(retry_after_s=settings.enrol_retry_s)
        return Authorised(
            amqp=Amqp(
                hosts=settings.worker_hosts(), vhost=settings.vhost, user=worker_user(body.worker),
                password=rights.password(body.worker, admission.grant), tls=settings.worker_tls,
            ),
            seal_key=rights.seal_key(body.worker, admission.grant),
        )  # fmt: skip

    return routes


def _enrolment(body: EnrolRequest) -> Enrolment:
    return Enrolment(
        worker=body.worker, key=body.key, addresses=body.addresses, name=body.name, os=body.os,
        agent_version=body.agent_version, drivers=body.drivers,
        contact=Contact(body.session, body.journal.id, body.journal.counter),
        epoch=body.epoch, opens_sealed=body.opens_sealed,
    )  # fmt: skip
