"""One-off runs: unpublished files become a version that is never current, and the scheduler is asked to run them.

Owns: versions without a number. Called by: api/once.py. Survives a crash: a version without a run expires; the request
is durable, and the scheduler makes its task under an id that follows from it. Change also: shared/domain/once.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.console.core.access import Viewer
from services.console.core.once import check_input, chosen_scenario
from services.console.core.settings import stored_version
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.workers import get_worker
from shared.contracts.catalogue import CATALOGUE
from shared.contracts.workflow_file import WorkflowFile
from shared.domain.once import KEEP_DAYS, KIND, refusal, task_of, version_id
from shared.errors import ErrorCode, PermanentError
from shared.mongo.guarded import insert_once
from shared.obs.clock import now
from shared.script.check import Checked


@dataclass(frozen=True)
class OnceAsked:
    """A one-off run that was asked for."""

    asked: Asked
    task: str
    """Id of the task that the scheduler makes of it."""
    version: str


async def run_once(
    context: Context, viewer: Viewer, account: str, files: Mapping[str, str], checked: Checked, *, worker: str,
    input: Mapping[str, Any], scenario: str | None,
) -> OnceAsked:  # fmt: skip
    """Run checked files once on a robot, in an account that the viewer sees.

    scenario: none: the first one that takes the input.
    Raises: PermanentError NOT_FOUND (account, robot), INVALID_INPUT, CONFLICT when the robot can't be had for it.
    """
    definition = checked.definition
    if definition is None or checked.errors:
        raise ValueError("only checked files are run")
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    version = _version(viewer, account, definition, files, checked)
    chosen = chosen_scenario(version["scenarios"], scenario, input)
    check_input(version["input"], input)
    problem = refusal(await get_worker(context, viewer, worker), worker, account)
    if problem is not None:
        raise PermanentError(ErrorCode.CONFLICT, problem)
    await _keep(context, version)
    args = {
        "account": account, "workflow": definition.name, "version": version["_id"], "scenario": chosen,
        "input": dict(input),
    }  # fmt: skip
    asked = await ask(context, viewer, kind=KIND, to="scheduler", target=worker, account=account, args=args)
    return OnceAsked(asked, task_of(asked.command), version["_id"])


async def _keep(context: Context, version: dict[str, Any]) -> None:
    """Store a version unless the same files are there, and keep it for some time from now on."""
    await insert_once(context.mongo["versions"], version)
    await context.mongo["versions"].update_one({"_id": version["_id"]}, {"$max": {"expires_at": version["expires_at"]}})


def _version(
    viewer: Viewer, account: str, definition: WorkflowFile, files: Mapping[str, str], checked: Checked
) -> dict[str, Any]:
    """As a published version's document, but without a number, so that it can't become current."""
    at = now()
    return {
        "_id": version_id(account, definition.name, checked.digest),
        "schema_version": 1,
        "account": account,
        "workflow": definition.name,
        "digest": checked.digest,
        "files": dict(files),
        **stored_version(definition),
        "objects": {name: one.model_dump(mode="json") for name, one in checked.objects.items()},
        "catalogue": CATALOGUE,
        "stored_at": at,
        "stored_by": viewer.name,
        "expires_at": at + timedelta(days=KEEP_DAYS),
    }
