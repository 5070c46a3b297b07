"""One collector and one delivery for the tests of this folder; each test has an account of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.collector.running import Ground, Instance, ground
from tests.partners.stack import Account, Side, add_account, services


@pytest.fixture(scope="session")
def partners_ground(servers: Any) -> Iterator[Ground]:
    """Vhost and database."""
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


@pytest.fixture(scope="session")
def stack(partners_ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Instance]]:
    """Collector and delivery."""
    with services(partners_ground, tmp_path_factory.mktemp("partners")) as made:
        yield made


@pytest.fixture
def account(stack: tuple[Instance, Instance], partners_ground: Ground) -> Account:
    """A new account."""
    collector, delivery = stack
    return add_account(partners_ground, collector.url, delivery.url)


@pytest.fixture
def side() -> Iterator[Side]:
    """The partner's own server."""
    made = Side()
    yield made
    made.close()
