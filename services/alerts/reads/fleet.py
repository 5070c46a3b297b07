"""What rules about robots look at.

Called by: evaluation.py, by the table in reads/table.py. Reads only; each query is an index range with a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.findings import Observation, Observed
from services.alerts.evaluation import Ask
from services.alerts.reads.work import AT_WORK
from shared.domain.worker_state import Authorisation
from shared.mongo import Mongo

ROBOTS_MAX = 10_000
FIELDS = {"account": 1, "name": 1, "seen": 1, "run": 1, "mode": 1, "quarantine": 1, "connected": 1}


class FleetReads:
    """Reads of robots."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def robot_lost(self, ask: Ask) -> Observed:
        """Authorised robots that are not connected."""
        found = await self._robots({"authorisation": Authorisation.AUTHORISED.value, "connected": False})
        items = [_of_robot(robot, f"robot {_name(robot)} is not connected") for robot in found]
        return Observed(items, complete=len(found) < ROBOTS_MAX)

    async def robot_frozen(self, ask: Ask) -> Observed:
        """Connected robots with a run at work that moved long ago."""
        robots = await self._robots({"run": {"$gt": ""}, "connected": True})
        last = ask.now - timedelta(seconds=min(ask.each("still_s")))
        query = {
            "_id": {"$in": [robot["run"] for robot in robots]}, "state": {"$in": list(AT_WORK)},
            "progressed_at": {"$lte": last},
        }  # fmt: skip
        fields = {"progressed_at": 1, "workflow": 1, "account": 1}
        runs = {run["_id"]: run async for run in self._mongo["runs"].find(query, fields)}
        items = []
        for robot in robots:
            run = runs.get(robot["run"])
            if run is not None:
                text = f"robot {_name(robot)} beats, but its run {run['_id']} makes no progress"
                facts = {"run": run["_id"], "workflow": run["workflow"]}
                items.append(_of_robot(robot, text, run["progressed_at"], facts, run["account"]))
        return Observed(items, complete=len(robots) < ROBOTS_MAX)

    async def robot_quarantined(self, ask: Ask) -> Observed:
        """Robots in quarantine; one that has ended may still stand there."""
        query = {"quarantine.until": {"$gt": ask.now}}
        found = await self._robots(query)
        items = []
        for robot in found:
            quarantine = robot["quarantine"]
            text = (
                f"robot {_name(robot)} gets no work until {quarantine['until']:%Y-%m-%dT%H:%MZ}: {quarantine['reason']}"
            )
            facts = {"until": quarantine["until"], "times": quarantine.get("times")}
            items.append(_of_robot(robot, text, quarantine.get("at"), facts))
        return Observed(items, complete=len(found) < ROBOTS_MAX)

    async def _robots(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._mongo["workers"].find(query, FIELDS).limit(ROBOTS_MAX).to_list(None)
        return found


def _name(robot: Mapping[str, Any]) -> str:
    return str(robot.get("name") or robot["_id"])


def _of_robot(
    robot: Mapping[str, Any], text: str, since: datetime | None = None, facts: Mapping[str, Any] | None = None,
    account: str | None = None,
) -> Observation:  # fmt: skip
    more = {"name": _name(robot), "seen_at": (robot.get("seen") or {}).get("at"), **(facts or {})}
    return Observation(
        f"worker/{robot['_id']}", text, robot.get("account") or account, since, more, {"worker": robot["_id"]}
    )
