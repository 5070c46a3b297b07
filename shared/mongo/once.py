"""Why a one-off task waits: gathers what shared.domain.once makes a sentence of.

Called by: shared.mongo.waiting. Reads only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.gates import group_lock, rules_of
from shared.domain.once import why_waiting
from shared.domain.run_state import LIVE
from shared.domain.scenario import group_digest, group_values
from shared.mongo import Mongo
from shared.mongo.gates import Calendars


async def why_once(mongo: Mongo, task: Mapping[str, Any], now: datetime) -> str:
    """Why the queued one-off task of this document is not running."""
    robot = str(task["once"]["worker"])
    worker = await mongo["workers"].find_one({"_id": robot})
    schedule = (worker or {}).get("schedule")
    calendar = None
    if worker is not None and schedule:
        owner = worker.get("account") or ""
        calendar = (await Calendars.read(mongo, [(owner, schedule)])).of(owner, schedule)
    return why_waiting(worker, robot, now, calendar, group_in_use=await _group_in_use(mongo, task))


async def _group_in_use(mongo: Mongo, task: Mapping[str, Any]) -> bool:
    account, workflow = task["account"], task["workflow"]
    version = await mongo["versions"].find_one({"_id": task["once"]["version"]}, {"scenarios": 1})
    scenarios = (version or {}).get("scenarios") or []
    scenario = next((one for one in scenarios if one["name"] == task["once"]["scenario"]), None)
    if scenario is None:
        return False
    settings = await mongo["workflows"].find_one({"_id": f"{account}/{workflow}"}, {"settings": 1})
    rules = rules_of((settings or {}).get("settings"))
    digest = group_digest(group_values(scenario, task["input"]))
    lock = group_lock(account, workflow, digest, of_workflow=rules.group_of_workflow)
    if lock is None or rules.group_max is None:
        return False
    holders = {"locks": lock, "state": {"$in": sorted(LIVE)}}
    return bool(await mongo["runs"].count_documents(holders, limit=rules.group_max) >= rules.group_max)
