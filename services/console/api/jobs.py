"""Commands that scripts may run on the server (job.run): /api/v1/jobs.

Account * is for all accounts. Whoever registers a command runs it with the rights of the executor, so only an
administrator of all accounts may; an account's own one may look at its registrations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Response
from pydantic import Field, StringConstraints, model_validator

from services.console.api.access import Admin, ContextOf
from services.console.api.answers import page, problems
from services.console.api.models import (
    DOCUMENT_NAME,
    PAGE_SIZE,
    AccountQuery,
    Body,
    CursorQuery,
    Id,
    LimitQuery,
    NamePath,
    Page,
    View,
)
from services.console.store import jobs as store

router = APIRouter(tags=["jobs"], responses=problems())

MEGABYTE = 1024 * 1024
Word = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
Absolute = Annotated[str, StringConstraints(max_length=1000, pattern=r"^/[^\x00]*$")]
Variable = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
JobAccountPath = Annotated[
    str, Path(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,62})$", description="The account, or * for all accounts.")
]


class SecretName(Body):
    """A document of the run's account, of kind text."""

    secret: str = Field(pattern=DOCUMENT_NAME, max_length=200, description="Its name, such as db/password.")


Env = dict[Variable, Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")] | SecretName]


class Job(Body):
    """A command and its limits."""

    title: str = Field(default="", max_length=200, description="For people.")
    command: list[Word] = Field(
        min_length=1,
        max_length=100,
        description="Program (an absolute path) and its words; {0}, {1} .. stand for the script's arguments, "
        "which else follow. No shell reads it.",
    )
    env: Env = Field(default_factory=dict, max_length=50, description="Variables: texts, or {secret: NAME}.")
    folder: Absolute | None = Field(
        default=None, description="Where it runs; none: a folder of its own, removed after."
    )
    timeout_s: float = Field(default=60, ge=1, le=3600, description="Time; then it is killed.")
    memory_bytes_max: int = Field(
        default=512 * MEGABYTE, ge=16 * MEGABYTE, le=64 * 1024 * MEGABYTE, description="Memory of all its processes."
    )
    cpu_s_max: int = Field(default=60, ge=1, le=3600, description="Computing time of all its processes.")
    processes_max: int = Field(default=64, ge=1, le=1000, description="Processes at once.")
    output_bytes_max: int = Field(
        default=64 * 1024, ge=1024, le=MEGABYTE, description="Of stdout and of stderr, each; the rest is cut."
    )
    enabled: bool = Field(default=True, description="Whether scripts may run it.")

    @model_validator(mode="after")
    def _program(self) -> Self:
        if not self.command[0].startswith("/") or "{" in self.command[0]:
            raise ValueError("command: the program is an absolute path without places for arguments")
        return self


class JobView(View):
    """A registered command."""

    id: Id
    account: str = Field(description="Whose scripts may run it; *: all.")
    name: str = Field(description="What scripts call it.")
    title: str = Field(default="", description="For people.")
    command: list[str] = Field(description="Program and words.")
    env: dict[str, str | SecretName] = Field(description="Variables; secrets by name only.")
    folder: str | None = Field(description="Where it runs.")
    timeout_s: float = Field(description="Time.")
    memory_bytes_max: int = Field(description="Memory of all its processes.")
    cpu_s_max: int = Field(description="Computing time of all its processes.")
    processes_max: int = Field(description="Processes at once.")
    output_bytes_max: int = Field(description="Of stdout and of stderr, each.")
    enabled: bool = Field(description="Whether scripts may run it.")
    updated_at: datetime = Field(description="Last change.")
    updated_by: str | None = Field(default=None, description="Who.")


@router.get("/jobs")
async def list_jobs(
    viewer: Admin,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[JobView]:
    """The registered commands of your accounts, the last changed first."""
    listed = await store.list_jobs(context, viewer, account, limit, cursor)
    return page(response, [JobView.of(one) for one in listed.items], listed.next)


@router.get("/jobs/{account}/{name}")
async def get_job(account: JobAccountPath, name: NamePath, viewer: Admin, context: ContextOf) -> JobView:
    """One registered command."""
    return JobView.of(await store.get_job(context, viewer, account, name))


@router.put("/jobs/{account}/{name}")
async def put_job(account: JobAccountPath, name: NamePath, body: Job, viewer: Admin, context: ContextOf) -> JobView:
    """Register a command, or put it in place of what was there; only for administrators of all accounts."""
    return JobView.of(await store.put_job(context, viewer, account, name, body.model_dump(mode="json")))


@router.delete("/jobs/{account}/{name}", status_code=204)
async def delete_job(account: JobAccountPath, name: NamePath, viewer: Admin, context: ContextOf) -> Response:
    """Remove a registered command; only for administrators of all accounts. What runs goes on."""
    await store.delete_job(context, viewer, account, name)
    return Response(status_code=204)
