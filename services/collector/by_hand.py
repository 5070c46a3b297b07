"""Tasks that people hand in on the console: the request `tasks.add` becomes tasks.

Called by: the handler of the collector's commands. The request holds the items (`tasks`) or names an upload whose rows
were previewed and confirmed (`upload`). Survives a crash at any line: the batch's id follows from the request's, and a
batch that is taken again finds its own tasks, so a request that is carried out again makes nothing more and says the
same. Change also: services/console/store/by_hand.py, uploads.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.collector.intake import Intake, Sender
from shared.mongo import Mongo
from shared.mongo.uploads import ROWS_MAX, read_items
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.runtime.commands import finish
from shared.runtime.http import Problem

KIND = "tasks.add"
TOLD_MAX = 200
"""Tasks and refusals that the request's document names; the rest is counted."""

log = get_logger(__name__)


async def add_tasks(mongo: Mongo, intake: Intake, command: Mapping[str, Any]) -> None:
    """Carry out a request `tasks.add` {account, workflow, tasks or upload} and end it.

    Raises: TemporaryError; the request stays pending then.
    """
    args, id = command["args"], str(command["_id"])
    account, workflow = str(args["account"]), str(args["workflow"])
    items = await read_items(mongo, str(args["upload"])) if args.get("upload") else args.get("tasks")
    if not isinstance(items, list):
        await finish(mongo, id, "refused", "the upload is not kept any more; upload the file again")
        return
    if not 0 < len(items) <= ROWS_MAX:
        await finish(mongo, id, "refused", f"from 1 to {ROWS_MAX} tasks are taken at once; these are {len(items)}")
        return
    sender = Sender(account, str(command["by"]))
    batch = batch_of(id)
    try:
        answer = await intake.take(sender, workflow, items, source=f"{account}/hand", batch=batch)
    except Problem as problem:
        await finish(mongo, id, "refused", str(problem)[:500])
        return
    progress = _report(answer)
    await mongo["commands"].update_one({"_id": id, "state": "pending"}, {"$set": {"progress": progress}})
    await finish(mongo, id, "done", f"{progress['accepted']} taken, {progress['rejected']} refused")
    log.info("tasks added by hand", command=id, account=account, workflow=workflow, accepted=progress["accepted"])


def batch_of(command: str) -> str:
    """The id of the batch that a request makes."""
    return f"batch_{command.removeprefix('cmd_')}"


def _report(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What the request's document says of its tasks; bounded."""
    accepted, rejected = answer["accepted"], answer["rejected"]
    return {
        "batch": answer["batch"],
        "accepted": len(accepted),
        "duplicates": sum(1 for one in accepted if one["duplicate"]),
        "rejected": len(rejected),
        "tasks": accepted[:TOLD_MAX],
        "refused": rejected[:TOLD_MAX],
        "at": now(),
    }
