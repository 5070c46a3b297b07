"""Tasks: GET /api/v1/tasks, and what people do with one; with many at once: bulk.py."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Action,
    Body,
    CursorQuery,
    History,
    HoldRequest,
    Id,
    IdPath,
    JsonObject,
    LimitQuery,
    Page,
    TextQuery,
    View,
)
from services.console.core.journal import view_evidence
from services.console.store import queue, runs
from services.console.store import tasks as store
from shared.domain.task_state import TaskState

router = APIRouter(tags=["tasks"], responses=problems())


class TaskRow(View):
    """A task, as lists show it."""

    id: Id
    account: str = Field(description="Whose it is.")
    partner: str | None = Field(default=None, description="Who pushed it.")
    workflow: str = Field(description="What is to be done.")
    batch: str | None = Field(default=None, description="The push that it came with.")
    reference: str = Field(description="The partner's own name for it.")
    state: TaskState = Field(description="Where it stands.")
    priority: int | None = Field(default=None, description="Its own; null: the workflow's.")
    attempts: int = Field(default=0, description="Attempts started so far.")
    created_at: datetime = Field(description="When it came.")
    updated_at: datetime | None = Field(default=None, description="Last change.")
    finished_at: datetime | None = Field(default=None, description="When it became final.")
    not_before: datetime | None = Field(default=None, description="It does not run before.")
    deadline: datetime | None = Field(default=None, description="It expires when it has not run by then.")
    held_by: dict[str, Any] | None = Field(default=None, description="{run, attempt, epoch} while it runs.")
    hold: dict[str, Any] | None = Field(default=None, description="{reason, text, at, run, seq} while it is held.")
    once: dict[str, Any] | None = Field(
        default=None, description="{worker, version, scenario, by} of a one-off run: not billed, not delivered."
    )
    error: dict[str, Any] | None = Field(default=None, description="{kind, code, message, line, traceback}.")


class EvidenceView(View):
    """A piece of evidence; its bytes are at /api/v1/evidence/{id}."""

    id: Id
    name: str = Field(description="What it shows.")
    media_type: str = Field(description="Its kind of bytes.")
    size_bytes: int = Field(description="How many.")
    sha256: str = Field(description="Of its bytes.")
    at: datetime | None = Field(default=None, description="When it was made.")
    task: str | None = Field(default=None, description="Its task.")
    seq: int | None = Field(default=None, description="The instruction of the run that made it.")


class TaskView(TaskRow):
    """A task with everything about it."""

    input: dict[str, Any] = Field(default_factory=dict, description="What the partner pushed.")
    result: dict[str, Any] | None = Field(default=None, description="{output}, when it succeeded.")
    evidence: list[EvidenceView] = Field(default_factory=list, description="Over all attempts, oldest first.")
    history: list[History] = Field(default_factory=list, description="The newest 50 changes.")
    cancel: dict[str, Any] | None = Field(default=None, description="{by, at}, when somebody called it off.")
    why_waiting: str | None = Field(default=None, description="Why it is not running; null when it runs or is final.")


class Settlement(Body):
    """What became of a held task."""

    outcome: Literal["succeeded", "failed", "again"] = Field(description="again: back to the queue.")
    output: JsonObject | None = Field(default=None, description="The result, when it succeeded.")
    note: str = Field(default="", max_length=2000, description="Why; it is kept in the history.")


class PriorityRequest(Body):
    """How urgent it is."""

    priority: int | None = Field(ge=0, le=5, description="From 0 to 5; null: the workflow's.")


@router.get("/tasks")
async def list_tasks(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    workflow: TextQuery = None,
    state: Annotated[TaskState | None, Query(description="Only in this state.")] = None,
    reference: TextQuery = None,
    batch: TextQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[TaskRow]:
    """Tasks that match, newest first."""
    listed = await store.list_tasks(
        context,
        viewer,
        account=account,
        workflow=workflow,
        state=state,
        reference=reference,
        batch=batch,
        limit=limit,
        cursor=cursor,
    )
    return page(response, [TaskRow.of(one) for one in listed.items], listed.next)


@router.get("/tasks/{task}")
async def get_task(task: IdPath, viewer: Reader, context: ContextOf) -> TaskView:
    """One task, and why it is not running."""
    document, said = await queue.why(context, viewer, task)
    evidence = [view_evidence(one) for one in await runs.list_evidence(context, viewer, task)]
    waits = document["state"] in (TaskState.QUEUED, TaskState.HELD)
    return TaskView.of(document, evidence=evidence, why_waiting=said.why if waits else None)


@router.post("/tasks/{task}/cancel", responses=problems(409))
async def cancel(task: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Cancel a task; a running one ends at its next instruction."""
    return action(response, await store.cancel(context, viewer, task))


@router.post("/tasks/{task}/abort", responses=problems(409))
async def abort(task: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Cancel a task now: the instruction in flight is cut; other tasks of its run go back as they were."""
    return action(response, await store.abort(context, viewer, task))


@router.post("/tasks/{task}/settle", responses=problems(409))
async def settle(task: IdPath, body: Settlement, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Say what became of a held task, or that it shall be done again."""
    asked = await store.settle(context, viewer, task, body.outcome, body.output, body.note)
    return action(response, asked)


@router.post("/tasks/{task}/hold", responses=problems(409))
async def hold(
    task: IdPath, viewer: Operator, context: ContextOf, response: Response, body: HoldRequest | None = None
) -> Action:
    """Take a task out of the queue until it is released."""
    args = {"text": body.text if body else ""}
    return action(response, await store.steer(context, viewer, task, "hold", args))


@router.post("/tasks/{task}/release", responses=problems(409))
async def release(task: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Let a held task go back to the queue."""
    return action(response, await store.steer(context, viewer, task, "release", {}))


@router.post("/tasks/{task}/front", responses=problems(409))
async def front(task: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Put a task before all others of its level."""
    return action(response, await store.steer(context, viewer, task, "front", {}))


@router.post("/tasks/{task}/priority", responses=problems(409))
async def set_priority(
    task: IdPath, body: PriorityRequest, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Give a task a priority of its own, or the workflow's again."""
    return action(response, await store.steer(context, viewer, task, "priority", {"priority": body.priority}))
