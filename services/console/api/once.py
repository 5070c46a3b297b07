"""One-off runs: POST /api/v1/workflows/once runs unpublished files on one robot; nothing is billed or delivered."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf
from services.console.api.answers import action, problems
from services.console.api.models import Action, Body, JsonObject, Name
from services.console.api.workflows import Files, refuse_errors
from services.console.store import once as store
from services.console.store import publish

router = APIRouter(tags=["workflows"], responses=problems(409))


class FilesToRun(Body):
    """A workflow's folder, and what to run of it where."""

    account: Name
    files: Files
    worker: str = Field(min_length=1, max_length=200, description="The robot.")
    input: JsonObject = Field(default_factory=dict, description="The task's input.")
    scenario: str | None = Field(
        default=None, min_length=1, max_length=200, description="Its name; null: the first one that takes the input."
    )


class OnceAction(Action):
    """A one-off run that was asked for; watch its task."""

    task: str = Field(description="Id of its task; it says why it waits, and which run has it.")
    version: str = Field(description="Id of the unpublished version.")


@router.post("/workflows/once")
async def run_once(body: FilesToRun, viewer: Admin, context: ContextOf, response: Response) -> OnceAction:
    """Check a workflow's folder and run it once on a robot, as soon as that is free."""
    checked = await publish.check(context, body.files)
    refuse_errors(checked)
    done = await store.run_once(
        context,
        viewer,
        body.account,
        body.files,
        checked,
        worker=body.worker,
        input=body.input,
        scenario=body.scenario,
    )
    return OnceAction(**action(response, done.asked).model_dump(), task=done.task, version=done.version)
