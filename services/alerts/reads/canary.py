"""What the rule about the canary looks at. Called by: evaluation.py, by the table in reads/table.py."""

from __future__ import annotations

from services.alerts.core.findings import Observation, Observed
from services.alerts.evaluation import Ask
from shared.domain.canary import ACCOUNT
from shared.mongo import Mongo

CANARIES_MAX = 10


class CanaryReads:
    """Reads of the canary's rounds."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def canary_failing(self, ask: Ask) -> Observed:
        """The newest rounds of each workflow; nothing where the canary is off."""
        found = await self._mongo["canaries"].find({}).limit(CANARIES_MAX).to_list(None)
        items = [
            Observation(
                f"workflow/{ACCOUNT}/{one['_id']}", f"the canary {one['_id']}", None, one.get("ok_at"),
                {"ok_at": one.get("ok_at")}, {},
                {"rounds": one.get("rounds") or [], "at": one["at"], "every_s": one["every_s"],
                 "timeout_s": one["timeout_s"]},
            )
            for one in found
        ]  # fmt: skip
        return Observed(items, complete=len(found) < CANARIES_MAX)
