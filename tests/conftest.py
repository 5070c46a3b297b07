"""What all tests share: a real broker and a real database for the session, a fresh vhost and database for each test.

Where REGENTE_AMQP_URL and REGENTE_MONGO_URL are set, those servers are used. A server that is missing is a failure,
never a skip."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from hypothesis import settings
from pymongo import MongoClient

from deploy.local import parts
from deploy.local.servers import Servers
from deploy.local.settings import SERVERS, free_ports, read_settings

# Machines that run tests are shared: how long one example takes says nothing about the code.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
# For what tests start: Playwright's driver needs libraries that a small machine has only where `make parts` put them.
os.environ.update(parts.libraries(read_settings().home))


@dataclass(frozen=True)
class Addresses:
    """Where the session's servers are."""

    amqp: str
    amqp_admin: str
    mongo: str
    own: Servers | None
    """The servers that this session started, to be killed and restarted by tests; none when they were given."""


@pytest.fixture(scope="session")
def servers() -> Iterator[Addresses]:
    """One broker and one database for the session."""
    settings = read_settings()
    if not settings.own_servers:
        amqp = str(settings.amqp_url)
        yield Addresses(amqp, settings.amqp_admin_url or _admin_of(amqp), str(settings.mongo_url), None)
        return
    room = settings.home / "test"
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="servers-", dir=room))
    own = Servers(settings.home, folder, free_ports(SERVERS))
    own.start()
    try:
        yield Addresses(own.amqp_url, own.amqp_admin_url, own.mongo_url, own)
    finally:
        own.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def amqp_admin_url(servers: Addresses) -> str:
    """The broker's management API, with user and password."""
    return servers.amqp_admin


@pytest.fixture
def amqp_url(servers: Addresses) -> Iterator[str]:
    """A fresh vhost."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    user = urlsplit(servers.amqp).username
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    with httpx.Client(base_url=servers.amqp_admin, timeout=20) as admin:
        admin.put(f"/api/vhosts/{vhost}").raise_for_status()
        admin.put(f"/api/permissions/{vhost}/{user}", json=rights).raise_for_status()
        yield urlunsplit(urlsplit(servers.amqp)._replace(path=f"/{vhost}"))
        admin.delete(f"/api/vhosts/{vhost}")


@pytest.fixture
def mongo_url(servers: Addresses) -> str:
    """The replica set."""
    return servers.mongo


@pytest.fixture
def mongo_db(servers: Addresses) -> Iterator[str]:
    """The name of a fresh database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    client: MongoClient[dict[str, object]] = MongoClient(servers.mongo)
    with client:
        client.drop_database(name)


def _admin_of(amqp: str) -> str:
    parts = urlsplit(amqp)
    port = os.environ.get("REGENTE_BROKER_ADMIN_PORT", "15672")
    return f"http://{parts.username}:{parts.password}@{parts.hostname}:{port}"
