"""One collector process for all tests of this folder; each test uses an account of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.integration.collector.running import Ground, Instance, ground, running

SCHEMA = {
    "type": "object",
    "required": ["registration"],
    "properties": {"registration": {"type": "string", "pattern": "^[0-9]+$"}},
}


@dataclass
class Account:
    """An account with one published workflow, `tax`, and a key."""

    name: str
    http: httpx.Client
    ground: Ground

    @property
    def db(self) -> Any:
        """The database as it is."""
        return self.ground.db

    def push(self, *items: Any, workflow: str = "tax", **headers: str) -> httpx.Response:
        """Push items."""
        return self.http.post("/v1/tasks", json={"workflow": workflow, "tasks": list(items)}, headers=headers)

    def stored(self) -> list[dict[str, Any]]:
        """This account's tasks in the order of their places."""
        return list(self.db["tasks"].find({"account": self.name}).sort([("queue.rank", 1), ("_id", 1)]))


def item(reference: str, registration: Any = "1", **fields: Any) -> dict[str, Any]:
    """An item that fits the workflow."""
    return {"reference": reference, "input": {"registration": registration}, **fields}


@pytest.fixture(scope="session")
def collector_ground(servers: Any) -> Iterator[Ground]:
    """Vhost and database of the collector's tests."""
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


@pytest.fixture(scope="session")
def collector(collector_ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """The process."""
    folder = tmp_path_factory.mktemp("collector")
    env = {"REGENTE_COLLECTOR_URL": "http://collector.test", "REGENTE_CANCEL_WAIT_S": "1"}
    env["REGENTE_IDEMPOTENCY_CLAIM_S"] = "1"
    with running("collector", collector_ground, folder, **env) as instance:
        yield instance


_numbers = itertools.count(1)


@pytest.fixture
def account(collector: Instance, collector_ground: Ground) -> Iterator[Account]:
    """A new account."""
    name = f"acme{next(_numbers)}"
    add_workflow(collector_ground, name, "tax", SCHEMA)
    headers = collector_ground.key(name, "tasks")
    with httpx.Client(base_url=collector.url, headers=headers, timeout=30) as http:
        yield Account(name, http, collector_ground)


def add_workflow(on: Ground, account: str, name: str, schema: dict[str, Any] | None, number: int = 1) -> None:
    """A workflow with its current version; without a schema: nothing published."""
    on.db["workflows"].update_one(
        {"_id": f"{account}/{name}"},
        {
            "$set": {
                "account": account,
                "name": name,
                "current": number if schema else None,
                "settings": {"priority": 1},
            }
        },
        upsert=True,
    )
    if schema is not None:
        version = {"account": account, "workflow": name, "number": number, "input": schema}
        on.db["versions"].insert_one(
            {"_id": f"{account}/{name}/{number}", "published_at": datetime.now(UTC), **version}
        )
