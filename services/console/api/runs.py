"""Runs: GET /api/v1/runs, their journals, stop and abort."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

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
    Id,
    IdPath,
    LimitQuery,
    Page,
    TextQuery,
    View,
)
from services.console.api.tasks import EvidenceView
from services.console.store import runs as store
from shared.domain.run_state import RunState
from shared.runtime.http import decode_cursor, encode_cursor

router = APIRouter(tags=["runs"], responses=problems())


class RunTask(View):
    """One task of a run."""

    task: str = Field(description="Its id.")
    attempt: int | None = Field(default=None, description="Which attempt at it.")
    state: str = Field(description="waiting, running, ended or returned.")
    outcome: Any = Field(default=None, description="What became of it.")


class RunView(View):
    """A run: one scenario on one robot."""

    id: Id
    account: str = Field(description="Whose it is.")
    workflow: str = Field(description="What is done.")
    version: str | None = Field(default=None, description="Id of the workflow's version.")
    scenario: str | None = Field(default=None, description="Name of the scenario.")
    worker: str | None = Field(default=None, description="The robot; null: it needs none, or gave it back.")
    warm: bool = Field(default=False, description="Whether it is kept ready for tasks of its group.")
    wants_robot: bool = Field(default=False, description="Whether it gave its robot back, and waits for another.")
    epoch: int | None = Field(default=None, description="The robot's reservation.")
    state: RunState = Field(description="Where it stands.")
    tasks: list[RunTask] = Field(default_factory=list, description="In their order.")
    executor: str | None = Field(default=None, description="Instance that works on it.")
    token: int | None = Field(default=None, description="Raised each time an executor takes it.")
    opened_at: datetime = Field(description="When it got its robot.")
    started_at: datetime | None = Field(default=None, description="When its setup began.")
    finished_at: datetime | None = Field(default=None, description="When it ended.")
    progressed_at: datetime | None = Field(default=None, description="Last progress.")
    last_seq: int | None = Field(default=None, description="Number of its last journal entry.")
    end: dict[str, Any] | None = Field(default=None, description="{reason, text}, when it has ended.")
    once: dict[str, Any] | None = Field(default=None, description="{task, by} of a one-off run.")
    abort: dict[str, Any] | None = Field(default=None, description="{by, at, reason}, when somebody aborted it.")


class StepView(View):
    """One entry of a run's journal; an instruction has its outcome with it."""

    seq: int = Field(description="Its number in the run.")
    kind: str = Field(description="phase, instruction, outcome, takeover, abort or end.")
    at: datetime = Field(description="When it was stored.")
    phase: str | None = Field(default=None, description="setup, task or teardown.")
    task: str | None = Field(default=None, description="The task in hand.")
    attempt: int | None = Field(default=None, description="Which attempt at it.")
    executor: str | None = Field(default=None, description="Instance that stored it.")
    name: str | None = Field(default=None, description="The instruction, such as browser.click.")
    args: dict[str, Any] = Field(default_factory=dict, description="Its arguments; secrets stay handles.")
    effect: str | None = Field(default=None, description="read or act.")
    commit: bool = Field(default=False, description="It can't be taken back.")
    script: str | None = Field(default=None, description="File of the script.")
    function: str | None = Field(default=None, description="Function of the script.")
    line: int | None = Field(default=None, description="Line of the script.")
    timeout_s: float | None = Field(default=None, description="What the robot has for it, seconds.")
    outcome: str | None = Field(default=None, description="done, error, in_doubt or refused; null: not known yet.")
    duration_s: float | None = Field(default=None, description="What the robot took, seconds.")
    value: Any = Field(default=None, description="What it gave, cut when it is long.")
    error: str | None = Field(default=None, description="CODE: message.")
    matched: int | None = Field(default=None, description="Index of the selector that matched, from 0.")
    context: dict[str, Any] | None = Field(
        default=None, description="With a failure: {pages, dialogs, windows, notes} of the robot."
    )
    failure: dict[str, Any] | None = Field(
        default=None, description="Of an outcome: {kind, code, message, line, traceback, recent, failed, context}."
    )
    text: str | None = Field(default=None, description="What an entry that is no instruction says.")
    logs: list[Any] = Field(default_factory=list, description="What the script logged before it.")
    evidence: list[EvidenceView] = Field(default_factory=list, description="What it left behind.")


class AbortRequest(Body):
    """Why a run shall end."""

    reason: str = Field(default="", max_length=500, description="For the history.")


@router.get("/runs")
async def list_runs(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    workflow: TextQuery = None,
    worker: TextQuery = None,
    task: TextQuery = None,
    state: Annotated[RunState | None, Query(description="Only in this state.")] = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[RunView]:
    """Runs that match, newest first."""
    listed = await store.list_runs(
        context,
        viewer,
        account=account,
        workflow=workflow,
        worker=worker,
        task=task,
        state=state,
        limit=limit,
        cursor=cursor,
    )
    return page(response, [RunView.of(one) for one in listed.items], listed.next)


@router.get("/runs/{run}")
async def get_run(run: IdPath, viewer: Reader, context: ContextOf) -> RunView:
    """One run."""
    return RunView.of(await store.get_run(context, viewer, run))


@router.get("/runs/{run}/steps")
async def list_steps(
    run: IdPath,
    viewer: Reader,
    context: ContextOf,
    response: Response,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[StepView]:
    """Its journal in order: instructions with their line, outcome, duration and evidence."""
    after = _seq(cursor)
    steps = await store.list_steps(context, viewer, run, after=after, limit=limit)
    following = None if steps.next is None else str(encode_cursor(steps.next))
    return page(response, [StepView.of(one) for one in steps.items], following)


@router.post("/runs/{run}/abort", responses=problems(409))
async def abort(run: IdPath, body: AbortRequest, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """End a run early: the instruction in flight is cut, the task in hand ends by its policy."""
    return action(response, await store.abort(context, viewer, run, body.reason))


@router.post("/runs/{run}/stop", responses=problems(409))
async def stop(run: IdPath, body: AbortRequest, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """End a run after the task in hand; its other tasks go back to the queue as they were."""
    return action(response, await store.stop(context, viewer, run, body.reason))


def _seq(cursor: str | None) -> int:
    """The seq to go on after; 0 at the beginning. A cursor of another list begins at the beginning, too."""
    value = decode_cursor(cursor) if cursor is not None else 0
    return value if isinstance(value, int) and 0 <= value < 10**8 else 0
