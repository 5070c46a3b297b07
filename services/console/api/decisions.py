"""Decisions: GET /api/v1/decisions, and answering one. In addresses the `/` of an id is written `.`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Action,
    Body,
    CursorQuery,
    Id,
    LimitQuery,
    Page,
    TextQuery,
    View,
)
from services.console.store import decisions as store
from shared.domain.decision import ANSWER_LENGTH_MAX, DecisionState

router = APIRouter(tags=["decisions"], responses=problems())

AddressPath = Annotated[
    str, Path(min_length=1, max_length=200, description="Its id, with `.` instead of `/`: <run>.<seq>.")
]


class DecisionView(View):
    """A question that a script asks people."""

    id: Id
    account: str = Field(description="Whose it is.")
    workflow: str = Field(description="What asks.")
    task: str | None = Field(default=None, description="The task in hand.")
    run: str = Field(description="The run that waits.")
    seq: int = Field(description="Number of the question in its run's journal.")
    worker: str | None = Field(default=None, description="The robot, when the run keeps one.")
    question: str = Field(description="What is asked.")
    options: list[str] = Field(default_factory=list, description="The answers that it takes; empty: any text.")
    image: str | None = Field(default=None, description="Evidence that goes with it: its bytes are at evidence/{id}.")
    asked_at: datetime = Field(description="When.")
    due_at: datetime | None = Field(default=None, description="Until when it can be answered; null: no deadline.")
    default: str | None = Field(default=None, description="What is taken when nobody answers in time.")
    state: DecisionState = Field(description="open, answered, expired (nobody in time) or withdrawn (the run ended).")
    answer: str | None = Field(default=None, description="What was answered.")
    by: str | None = Field(default=None, description="By whom: a user, or `link` without a log-in.")
    at: datetime | None = Field(default=None, description="When it was answered, expired or withdrawn.")


class Answer(Body):
    """A person's answer."""

    answer: str = Field(
        min_length=1, max_length=ANSWER_LENGTH_MAX, description="One of the options, or any text where there are none."
    )


class LinkView(View):
    """A link under which whoever has it may answer, without a log-in."""

    url: str = Field(description="Hand it only to who shall answer.")


@router.get("/decisions")
async def list_decisions(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    workflow: TextQuery = None,
    state: Annotated[DecisionState | None, Query(description="Only in this state.")] = None,
    run: TextQuery = None,
    task: TextQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[DecisionView]:
    """Decisions that match, newest first."""
    listed = await store.list_decisions(
        context,
        viewer,
        account=account,
        workflow=workflow,
        state=state,
        run=run,
        task=task,
        limit=limit,
        cursor=cursor,
    )
    return page(response, [DecisionView.of(one) for one in listed.items], listed.next)


@router.get("/decisions/{decision}")
async def get_decision(decision: AddressPath, viewer: Reader, context: ContextOf) -> DecisionView:
    """One decision."""
    return DecisionView.of(await store.get_decision(context, viewer, decision))


@router.post("/decisions/{decision}/answer", responses=problems(409))
async def answer(
    decision: AddressPath, body: Answer, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Answer; the first answer counts, and the run goes on."""
    return action(response, await store.answer(context, viewer, decision, body.answer))


@router.get("/decisions/{decision}/link")
async def get_link(decision: AddressPath, viewer: Operator, context: ContextOf, response: Response) -> LinkView:
    """The link to the page on which it can be answered without a log-in; that you asked for it is audited."""
    response.headers["Cache-Control"] = "no-store"
    return LinkView(url=await store.link_of(context, viewer, decision))
