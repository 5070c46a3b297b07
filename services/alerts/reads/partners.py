"""What rules about endpoints, deliveries and sources look at.

Called by: evaluation.py, by the table in reads/table.py. Reads only; each query is an index range with a limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.alerts.core.findings import Observation, Observed
from services.alerts.evaluation import Ask
from shared.domain.delivery_state import DeliveryState
from shared.mongo import Mongo

DEAD_MAX = 2000
FOUND_MAX = 5000


class PartnerReads:
    """Reads of endpoints, deliveries, sources."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def delivery_dead(self, ask: Ask) -> Observed:
        """The newest dead deliveries, by endpoint."""
        first = ask.now - timedelta(seconds=max(ask.each("look_back_s")))
        query = {"state": DeliveryState.DEAD.value, "created_at": {"$gte": first}}
        fields = {"account": 1, "endpoint": 1, "created_at": 1, "workflow": 1}
        found = await self._mongo["deliveries"].find(query, fields).sort("created_at", -1).limit(DEAD_MAX).to_list(None)
        dead: dict[tuple[str, str], list[tuple[str, Any]]] = {}
        for one in found:
            dead.setdefault((one["account"], one["endpoint"]), []).append((one["_id"], one["created_at"]))
        complete = len(found) < DEAD_MAX
        items = [
            Observation(
                f"endpoint/{account}/{name}", f"endpoint {account}/{name}", account, None, {"endpoint": name},
                {"endpoint": name}, {"dead": ids, "more": not complete},
            )
            for (account, name), ids in dead.items()
        ]  # fmt: skip
        return Observed(items, complete=complete)

    async def endpoint_down(self, ask: Ask) -> Observed:
        """Endpoints whose circuit is open."""
        fields = {"account": 1, "name": 1, "circuit": 1, "enabled": 1}
        query = {"circuit.open": True}
        found = await self._mongo["endpoints"].find(query, fields).limit(FOUND_MAX).to_list(None)
        items = []
        for one in found:
            if one.get("enabled", True):
                circuit = one["circuit"]
                text = f"endpoint {one['account']}/{one['name']} fails, its deliveries wait: {circuit.get('reason')}"
                items.append(_of_endpoint(one, text, circuit.get("opened_at"), {"failures": circuit.get("failures")}))
        return Observed(items, complete=len(found) < FOUND_MAX)

    async def endpoint_disabled(self, ask: Ask) -> Observed:
        """Endpoints that were disabled for a reason, not by a person."""
        query = {"enabled": False, "disabled_reason": {"$gt": ""}}
        fields = {"account": 1, "name": 1, "disabled_reason": 1}
        found = await self._mongo["endpoints"].find(query, fields).limit(FOUND_MAX).to_list(None)
        items = [
            _of_endpoint(
                one, f"endpoint {one['account']}/{one['name']} is disabled: {one['disabled_reason']}", None, {}
            )
            for one in found
        ]
        return Observed(items, complete=len(found) < FOUND_MAX)

    async def poller_failing(self, ask: Ask) -> Observed:
        """Sources that are down."""
        query = {"down.since": {"$exists": True}}
        fields = {"account": 1, "name": 1, "workflow": 1, "down": 1, "failures": 1, "last_failure": 1, "enabled": 1}
        found = await self._mongo["sources"].find(query, fields).limit(FOUND_MAX).to_list(None)
        items = []
        for one in found:
            if not one.get("enabled", True):
                continue
            reason = (one.get("last_failure") or one["down"]).get("reason")
            text = f"source {one['account']}/{one['name']} fails: {reason}"
            scope = {"source": one["name"], **({"workflow": one["workflow"]} if one.get("workflow") else {})}
            facts = {"failures": one.get("failures")}
            target = f"source/{one['account']}/{one['name']}"
            items.append(Observation(target, text, one["account"], one["down"]["since"], facts, scope))
        return Observed(items, complete=len(found) < FOUND_MAX)


def _of_endpoint(one: Mapping[str, Any], text: str, since: Any, facts: Mapping[str, Any]) -> Observation:
    target = f"endpoint/{one['account']}/{one['name']}"
    return Observation(target, text, one["account"], since, facts, {"endpoint": one["name"]})
