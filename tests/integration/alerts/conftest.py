"""Alerts on the real broker and database, in this process; around it the world of the scheduler's tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.alerts.core.evaluate import Change
from services.alerts.evaluation import Evaluation
from services.alerts.handlers import Handlers
from services.alerts.reads.table import database_reads
from services.alerts.store import AlertStore
from shared.domain.alert_rules import RuleKind
from shared.obs.clock import now
from tests.integration.scheduler.conftest import World, scheduler_amqp, scheduler_mongo, until, world

__all__ = ["Alerts", "alerts", "scheduler_amqp", "scheduler_mongo", "until", "world"]


@dataclass
class Alerts:
    """The parts of the service, to be taken step by step."""

    world: World
    store: AlertStore
    handlers: Handlers
    evaluation: Evaluation
    changed: list[int] = field(default_factory=list)

    async def rule(self, kind: RuleKind, *, for_s: float = 0.0, id: str | None = None, **params: Any) -> None:
        """Edit the default rule of a kind, as the console does; the others are disabled."""
        await self.store.mongo["rules"].update_many({"_id": {"$ne": id or kind.value}}, {"$set": {"enabled": False}})
        fields = {"params": params, "for_s": for_s, "enabled": True}
        await self.store.mongo["rules"].update_one({"_id": id or kind.value}, {"$set": fields})

    async def run(self) -> list[Change]:
        """Events, then a pass."""
        await self.handlers.sweep_events()
        return await self.evaluation.run()

    async def all(self, **query: Any) -> list[dict[str, Any]]:
        """Alerts, the oldest first."""
        return await self.store.mongo["alerts"].find(query).sort("created_at", 1).to_list(None)

    async def only(self, state: str) -> Mapping[str, Any]:
        """The one alert that there is, in this state."""
        found = await self.all()
        assert [alert["state"] for alert in found] == [state], found
        return found[0]


@pytest.fixture
async def alerts(world: World) -> Alerts:
    """Alerts without its process, with the default rules."""
    store = AlertStore(world.mongo)
    await store.seed(now())
    changed: list[int] = []
    tell = lambda: changed.append(1)  # noqa: E731
    evaluation = Evaluation(store, database_reads(world.mongo), changed=tell)
    return Alerts(world, store, Handlers(store, changed=tell), evaluation, changed)
