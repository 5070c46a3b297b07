"""Trying a new version's files against a run that has ended: the executor does it, as a command.

Called by: api/replays.py. Owns nothing. Change also: services/executor/trial_requests.py, which answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.runs import get_run
from shared.domain.run_state import FINAL, RunState
from shared.errors import ErrorCode, PermanentError

KIND = "run.replay"
WAIT_S = 30.0


@dataclass(frozen=True)
class Replayed:
    """A request for a trial and, once it is done, its report."""

    asked: Asked
    report: Mapping[str, Any] | None


async def replay(context: Context, viewer: Viewer, account: str, files: Mapping[str, str], run: str) -> Replayed:
    """Have checked files tried against a run, and wait for the report for up to WAIT_S seconds.

    Raises: PermanentError NOT_FOUND (run, or it is another account's), CONFLICT (it has not ended).
    """
    document = await get_run(context, viewer, run)
    if document["account"] != account:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} has no run {run}")
    if RunState(document["state"]) not in FINAL:
        text = f"the run is {document['state']}; it can be replayed when it has ended"
        raise PermanentError(ErrorCode.CONFLICT, text)
    args = {"run": run, "account": account, "files": dict(files)}
    asked = await ask(
        context, viewer, kind=KIND, to="executor", target=run, account=account, args=args, wait_s=WAIT_S
    )  # fmt: skip
    return Replayed(asked, _report(asked.progress))


async def get_replay(context: Context, viewer: Viewer, command: str) -> Replayed:
    """A request for a trial as it stands.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["commands"].find_one({"_id": command, "kind": KIND})
    if document is None or not viewer.sees(document["args"]["account"]):
        raise PermanentError(ErrorCode.NOT_FOUND, f"there is no replay {command}; ended ones are kept for 30 days")
    asked = Asked(command, document["state"], document.get("reason"), document.get("progress"))
    return Replayed(asked, _report(asked.progress))


def _report(progress: Mapping[str, Any] | None) -> dict[str, Any] | None:
    text = (progress or {}).get("report")
    return json.loads(text) if text else None
