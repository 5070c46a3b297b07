"""The real broker and database, killed and started again, with and without their data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient

from deploy.local.console_lines import StackError
from deploy.local.servers import Servers
from deploy.local.settings import SERVERS, free_ports, read_settings
from tests.local_stack.conftest import nothing_left


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    servers = Servers(read_settings().home, folder, free_ports(SERVERS))
    servers.start()
    yield servers
    servers.stop()
    assert nothing_left(folder)


def queues(servers: Servers) -> list[str]:
    answer = httpx.get(f"{servers.amqp_admin_url}/api/queues/regente", timeout=20)
    return [queue["name"] for queue in answer.raise_for_status().json()]


def test_a_wiped_broker_comes_back_empty_with_the_same_address(private: Servers) -> None:
    kept = httpx.put(f"{private.amqp_admin_url}/api/queues/regente/kept", json={"durable": True}, timeout=20)
    kept.raise_for_status()
    address, pid = private.amqp_url, private.pids()["broker"]
    assert queues(private) == ["kept"]
    private.restart("broker", wipe=True)
    assert private.amqp_url == address
    assert private.pids()["broker"] != pid
    assert queues(private) == []


def test_a_killed_database_comes_back_with_what_was_acknowledged(private: Servers) -> None:
    with MongoClient(private.mongo_url, w="majority", journal=True) as client:
        client.kept.things.insert_one({"_id": 1})
        private.kill("database")
        private.restart("database")
        assert client.kept.things.find_one({"_id": 1}) == {"_id": 1}


def test_secrets_are_for_the_owner_alone(private: Servers) -> None:
    files = list((private.folder / "secrets").iterdir())
    assert {file.name for file in files} == {"amqp_password", "mongo_password", "mongo_keyfile", "erlang_cookie"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_data_of_another_password_is_refused_with_what_to_do(private: Servers, tmp_path: Path) -> None:
    other = Servers(read_settings().home, private.folder, private.ports)
    other.children = {"database": private.children["database"]}
    other.mongo_password = "not the one it was made with"
    with pytest.raises(StackError, match="remove the data to begin anew"):
        other.wait_ready()
