"""Erasure of one person's data, on request: /api/v1/erasures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Response
from pydantic import Field, model_validator

from services.console.api.access import Admin, ContextOf
from services.console.api.answers import page, problems
from services.console.api.models import (
    PAGE_SIZE,
    TEXT_LENGTH_MAX,
    AccountQuery,
    Body,
    CursorQuery,
    Id,
    IdPath,
    LimitQuery,
    Name,
    Page,
    View,
)
from services.console.store import erasures as store
from shared.domain.erasure import FIELD_PATTERN, REFERENCES_MAX, canonical

router = APIRouter(tags=["erasures"], responses=problems())

Reference = Annotated[str, Field(min_length=1, max_length=500)]


class Match(Body):
    """Which tasks are meant: by references, or by one field of their inputs."""

    workflow: Name | None = Field(default=None, description="Only tasks of this workflow.")
    references: list[Reference] | None = Field(
        default=None, min_length=1, max_length=REFERENCES_MAX, description="Their references."
    )
    field: str | None = Field(
        default=None, pattern=FIELD_PATTERN, max_length=300, description="Of the input, such as customer.cpf."
    )
    value: str | int | float | bool | None = Field(default=None, description="What stands in the field.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.references is None) == (self.field is None) or (self.field is None) != (self.value is None):
            raise ValueError("give references, or field and value")
        if isinstance(self.value, str) and not 1 <= len(self.value) <= TEXT_LENGTH_MAX:
            raise ValueError(f"value: 1 to {TEXT_LENGTH_MAX} characters")
        return self

    @property
    def about(self) -> str:
        """What it names, without any value."""
        where = f" in {self.workflow}" if self.workflow else ""
        return f"{len(set(self.references))} references{where}" if self.references else f"field {self.field}{where}"


class ErasureRequest(Body):
    """Whose data are to be erased."""

    account: Name
    match: Match
    dry_run: bool = Field(default=False, description="Only count what would go.")
    reason: str = Field(
        default="", max_length=TEXT_LENGTH_MAX, description="For the record; hold no personal data here."
    )


class Counts(View):
    """What went, or would go."""

    tasks: int = Field(description="Tasks without their data now; in a dry run: that would lose them.")
    deliveries: int = Field(description="Their deliveries.")
    results: int = Field(description="Their entries in the results feed.")
    evidence: int = Field(description="Their pieces of evidence.")
    steps: int = Field(description="Their entries in journals.")
    unfinished: int = Field(description="Tasks that match and have not ended: cancel them, then ask again.")
    on_hold: int = Field(description="Tasks that match and stay, because of a legal hold.")


class ErasureView(View):
    """A request, and what came of it. The values that it named are not kept."""

    id: Id
    account: str = Field(description="Whose tasks.")
    about: str = Field(description="What it named, without values.")
    criteria_hash: str = Field(description="The same for the same criteria, on this installation only.")
    dry_run: bool = Field(description="Nothing is erased.")
    reason: str = Field(description="Why.")
    by: str = Field(description="Who asked.")
    created_at: datetime = Field(description="When.")
    state: Literal["pending", "running", "done", "incomplete"] = Field(
        description="incomplete: some tasks had not ended, or a legal hold covers them; without counts: ask again."
    )
    ended_at: datetime | None = Field(description="When it was done.")
    counts: Counts | None = Field(description="When it has ended.")


@router.post("/erasures", responses={202: {"model": ErasureView, "description": "Not done yet; ask for it again."}})
async def erase(body: ErasureRequest, viewer: Admin, context: ContextOf, response: Response) -> ErasureView:
    """Erase the data of the matching tasks: input, result, evidence, logs, journal, what partners were sent. Ids,
    references, states, times and amounts stay. It can't be taken back; try it with `dry_run` first."""
    criteria = canonical(body.match.model_dump(exclude_none=True))
    document = await store.ask(
        context, viewer, body.account, criteria, about=body.match.about, dry_run=body.dry_run, reason=body.reason
    )
    response.status_code = 200 if document["state"] in store.ENDED else 202
    return ErasureView.of(document)


@router.get("/erasures")
async def list_erasures(
    viewer: Admin,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[ErasureView]:
    """Erasures, newest first."""
    listed = await store.list_erasures(context, viewer, account, limit, cursor)
    return page(response, [ErasureView.of(one) for one in listed.items], listed.next)


@router.get("/erasures/{id}")
async def get_erasure(id: IdPath, viewer: Admin, context: ContextOf) -> ErasureView:
    """One erasure."""
    return ErasureView.of(await store.get_erasure(context, viewer, id))
