"""Replays: POST /api/v1/workflows/replay tries new files against a run that was; GET /api/v1/replays/{command} reads
the report later."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import problems
from services.console.api.models import Body, IdPath, Name, View
from services.console.api.workflows import Files, refuse_errors
from services.console.store import publish
from services.console.store import replays as store
from shared.runtime.http import Problem

router = APIRouter(tags=["workflows"], responses=problems())


class ReplayRequest(Body):
    """A workflow's folder, to be tried against a run."""

    account: Name
    files: Files
    run: str = Field(min_length=1, max_length=200, description="Id of a run of this workflow that has ended.")


class Side(View):
    """What the script asked for, or how it ended."""

    what: str = Field(description="instruction; or returned, business, system, not_begun: how it ended.")
    name: str | None = Field(default=None, description="The instruction.")
    args: Any = Field(default=None, description="Its arguments; long values are cut.")
    commit: bool | None = Field(default=None, description="It can't be taken back.")
    line: int | None = Field(default=None, description="Line of the script.")
    function: str | None = Field(default=None, description="Function of the script.")
    code: str | None = Field(default=None, description="Of a failure.")
    message: str | None = Field(default=None, description="Of a failure.")
    output: Any = Field(default=None, description="The result; cut when it is long.")


class PhaseReplayed(View):
    """One phase of the run."""

    phase: str = Field(description="setup, task, keepalive or teardown.")
    task: str | None = Field(description="The task.")
    attempt: int | None = Field(description="Which attempt at it.")
    begun: int = Field(description="Entry with which it began.")
    verdict: str = Field(description="same, differs, ends_otherwise, or unknown: it could not be tried.")
    instructions: int = Field(description="So many were the same.")
    seq: int | None = Field(description="Entry of the journal at which it differs.")
    then: Side | None = Field(description="What it did.")
    now: Side | None = Field(description="What the new files do there.")
    note: str = Field(description="Why it could not be tried, or was not to its end.")


class ObjectChanged(View):
    """An object that the run used and that is looked for in another way now."""

    name: str = Field(description="In objects.yaml.")
    then: list[str] = Field(description="Its selectors.")
    now: list[str] = Field(description="Its selectors.")


class ReplayReport(View):
    """What the new files would have done otherwise."""

    run: str = Field(description="Its id.")
    workflow: str = Field(description="account/name.")
    version: str = Field(description="The version that it ran.")
    scenario: str = Field(description="The scenario.")
    same: bool = Field(description="Whether every phase is the same.")
    counts: dict[str, int] = Field(description="Phases by verdict.")
    phases: list[PhaseReplayed] = Field(description="In the order of the run.")
    left_out: int = Field(description="Phases that are counted, but not listed.")
    objects: list[ObjectChanged] = Field(description="Objects with other selectors; they don't count as a difference.")


class ReplayView(View):
    """A request to the executor, and its report."""

    command: str = Field(description="Id of the request.")
    state: str = Field(description="done; or pending: ask again with GET.")
    report: ReplayReport | None = Field(description="When it is done.")


@router.post("/workflows/replay", responses=problems(409))
async def replay(body: ReplayRequest, viewer: Operator, context: ContextOf, response: Response) -> ReplayView:
    """Check a folder and play a run's journal against its scripts. Nothing is performed, stored or published."""
    if not viewer.sees(body.account):
        raise Problem(404, f"account {body.account} does not exist")
    checked = await publish.check(context, body.files)
    refuse_errors(checked)
    return _answer(response, await store.replay(context, viewer, body.account, body.files, body.run))


@router.get("/replays/{command}", responses=problems(409))
async def get_replay(command: IdPath, viewer: Reader, context: ContextOf, response: Response) -> ReplayView:
    """A replay that was asked for before."""
    return _answer(response, await store.get_replay(context, viewer, command))


def _answer(response: Response, replayed: store.Replayed) -> ReplayView:
    """200 with the report, 202 while there is none yet. Raises: Problem 409 when the executor refused."""
    asked = replayed.asked
    if asked.state == "refused":
        raise Problem(409, asked.reason or "refused", code="CONFLICT", command=asked.command)
    response.status_code = 200 if asked.state == "done" else 202
    report = ReplayReport.of(replayed.report) if replayed.report is not None else None
    return ReplayView(command=asked.command, state=asked.state, report=report)
