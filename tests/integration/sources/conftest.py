"""A collector that looks at sources, and an account of its own for each test."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.obs.ids import new_id
from shared.seal import Sealer
from tests.integration.collector.conftest import SCHEMA, add_workflow
from tests.integration.collector.running import MASTER_KEY, Ground, Instance, ground, running, until
from tests.integration.sources.partner import Partner
from tests.integration.sources.partner import partner as partner_server

QUICK = {
    "REGENTE_SOURCES_PRIVATE_ALLOWED": "127.0.0.0/8,::1/128",
    "REGENTE_SOURCE_SWEEP_S": "0.05",
    "REGENTE_SWEEP_S": "0.2",
    "REGENTE_SOURCE_LEASE_BEAT_S": "0.1",
    "REGENTE_SOURCE_LEASE_STILL_S": "1.5",
}
_numbers = itertools.count(1)


@dataclass
class Account:
    """An account with the workflow `tax`, and its sources."""

    name: str
    ground: Ground
    folder: Path
    """Where its folders are."""

    @property
    def db(self) -> Any:
        """The database as it is."""
        return self.ground.db

    def add(self, name: str, settings: dict[str, Any], *, due: bool = True, **fields: Any) -> str:
        """A source as the console stores it; its id."""
        now, kind = datetime.now(UTC), settings["kind"]
        id = f"{self.name}/{name}"
        document = {
            "_id": id, "schema_version": 1, "account": self.name, "name": name, "title": "", "kind": kind,
            "workflow": "tax", "settings": settings, "enabled": True, "rev": new_id("rev_"), "token": 0,
            "since": now, "next_at": now if due else None, "counters": {}, "failures": 0, "updated_at": now,
        }  # fmt: skip
        self.db["sources"].replace_one({"_id": id}, {**document, **fields}, upsert=True)
        return id

    def document(self, name: str, value: dict[str, Any]) -> None:
        """A secret of the account."""
        id = f"{self.name}/{name}"
        sealed = Sealer(MASTER_KEY).seal("document", json.dumps(value).encode(), id.encode())
        document = {"_id": id, "account": self.name, "name": name, "kind": value["kind"], "sealed": sealed}
        self.db["documents"].replace_one({"_id": id}, document, upsert=True)

    def source(self, id: str) -> dict[str, Any]:
        """A source as it is."""
        found: dict[str, Any] = self.db["sources"].find_one({"_id": id})
        return found

    def log(self, id: str) -> list[dict[str, Any]]:
        """Its looks, the oldest first."""
        return list(self.db["source_log"].find({"source": id}).sort("_id", 1))

    def looked(self, id: str, count: int = 1) -> dict[str, Any]:
        """The look number `count`, when it is over and the source is free again."""
        until(
            lambda: len(self.log(id)) >= count and "holder" not in self.source(id),
            f"{count} looks at {id}: {self.source(id)}",
        )
        return self.log(id)[count - 1]

    def again(self, id: str) -> None:
        """Make it due."""
        self.db["sources"].update_one({"_id": id}, {"$set": {"next_at": datetime.now(UTC)}})

    def tasks(self) -> list[dict[str, Any]]:
        """Tasks of this account in the order of their references."""
        return sorted(self.db["tasks"].find({"account": self.name}), key=lambda one: one["reference"])

    def references(self) -> list[str]:
        """Of its tasks."""
        return [task["reference"] for task in self.tasks()]


@pytest.fixture(scope="session")
def sources_ground(servers: Any) -> Iterator[Ground]:
    """Vhost and database of these tests."""
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


@pytest.fixture(scope="session")
def sources_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collector's home."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def collector(sources_ground: Ground, sources_home: Path) -> Iterator[Instance]:
    """The process."""
    with running("collector", sources_ground, sources_home, **QUICK) as instance:
        yield instance


@pytest.fixture
def account(collector: Instance, sources_ground: Ground, sources_home: Path) -> Iterator[Account]:
    """A new account; its sources go at the end."""
    made = new_account(sources_ground, sources_home)
    yield made
    made.db["sources"].delete_many({"account": made.name})


def new_account(on: Ground, home: Path) -> Account:
    """An account with one published workflow."""
    name = f"acme{next(_numbers)}"
    add_workflow(on, name, "tax", SCHEMA)
    folder = home / "sources" / name
    folder.mkdir(parents=True)
    return Account(name, on, folder)


@pytest.fixture
def partner() -> Iterator[Partner]:
    """A partner with an HTTP API."""
    with partner_server() as made:
        yield made
