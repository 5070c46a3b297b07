"""Each service's own users of broker and database: what isn't a service's own is refused, on real servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pika
import pytest
from pika.exceptions import ChannelClosedByBroker
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from typer.testing import CliRunner

from cli.main import app
from deploy.compose.prepare import prepare
from shared.contracts.rights import SERVICES, own_queues, user_of
from shared.contracts.topology import (
    DEAD,
    EXCHANGES,
    HANDOFFS,
    WORKERS,
    instructions_queue,
    service_queues,
)
from shared.mongo.indexes import COLLECTIONS
from shared.mongo.rights import BUCKETS, READERS, writes
from shared.runtime.users import as_user, make_broker_users, make_database_users
from tests.conftest import Addresses

UNAUTHORIZED = 13
ACCESS_REFUSED = 403
HINTS = {
    "task.accepted": {"collector"}, "run.opened": {"scheduler", "executor"}, "run.finished": {"executor"},
    "task.finished": {"scheduler", "executor"}, "task.returned": {"executor"}, "decision.asked": {"executor"},
    "command.scheduler": set(SERVICES), "anything.else": set(),
}  # fmt: skip


@pytest.fixture
def passwords(servers: Addresses, amqp_url: str, mongo_db: str) -> Iterator[dict[str, str]]:
    """Users with random passwords; made twice, because that puts right what is there."""
    made = {service: secrets.token_urlsafe(16) for service in SERVICES}
    for _ in range(2):
        make_database_users(servers.mongo, mongo_db, made)
        make_broker_users(servers.amqp_admin, urlsplit(amqp_url).path[1:], made)
    yield made
    with MongoClient[dict[str, Any]](servers.mongo) as client:
        for service in SERVICES:
            client.admin.command("dropUser", user_of(service))
            client.admin.command("dropRole", f"{user_of(service)}-{mongo_db}")
    with httpx.Client(base_url=servers.amqp_admin, timeout=20) as admin:
        for service in SERVICES:
            admin.delete(f"/api/users/{quote(user_of(service))}").raise_for_status()


def test_the_command_makes_users_and_the_files_that_services_read(
    servers: Addresses, amqp_url: str, mongo_db: str, passwords: dict[str, str], tmp_path: Path
) -> None:
    admin = {
        "REGENTE_AMQP_URL": amqp_url, "REGENTE_AMQP_ADMIN_URL": servers.amqp_admin, "REGENTE_MONGO_URL": servers.mongo,
        "REGENTE_MONGO_DB": mongo_db,
    }  # fmt: skip
    folder = tmp_path / "users"
    for _ in range(2):  # again: the same passwords
        done = CliRunner().invoke(app, ["service-users", str(folder)], env=admin)
        assert done.exit_code == 0, done.output
    assert folder.stat().st_mode & 0o777 == 0o700
    for service in SERVICES:
        files = {path.name: path for path in (folder / service).iterdir()}
        tagged = service in ("console", "scheduler", "alerts")
        assert set(files) == {"password", "amqp_url", "mongo_url", "amqp_admin_url", "env"}
        assert f"REGENTE_MONGO_URL_FILE={files['mongo_url']}\n" in files["env"].read_text()
        assert bool(files["amqp_admin_url"].read_text()) is tagged, "an address only where it may look"
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in files.values())
        Connection(files["amqp_url"].read_text()).raw.close()
        with MongoClient[dict[str, Any]](files["mongo_url"].read_text()) as client:
            assert not refused(client[mongo_db]["tasks"].find_one)
        if tagged:
            httpx.get(f"{files['amqp_admin_url'].read_text()}/api/queues", timeout=20).raise_for_status()
    (tmp_path / "url").write_text(f"{servers.mongo}\n")
    by_file = {**admin, "REGENTE_MONGO_URL": "", "REGENTE_MONGO_URL_FILE": str(tmp_path / "url")}
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (folder / "alerts" / "mongo_url").unlink()
    done = CliRunner().invoke(app, ["service-users", str(folder), "--no-write-files"], env=by_file)
    assert done.exit_code == 0, done.output
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if path.is_file())
    assert not (folder / "alerts" / "mongo_url").exists()
    (folder / "alerts" / "password").unlink()
    lacks = CliRunner().invoke(app, ["service-users", str(folder), "--no-write-files"], env=admin)
    assert (lacks.exit_code, "alerts/password" in lacks.output.replace("\n", "")) == (2, True), lacks.output
    prepare(tmp_path / "secrets", cluster=False)  # as the compose files have it
    made = tmp_path / "secrets" / "users"
    assert CliRunner().invoke(app, ["service-users", str(made), "--no-write-files"], env=admin).exit_code == 0
    for service in SERVICES:
        Connection(as_user(amqp_url, user_of(service), (made / service / "password").read_text())).raw.close()
    wrong = CliRunner().invoke(app, ["service-users", str(folder)], env={**admin, "REGENTE_MONGO_URL": ""})
    assert wrong.exit_code == 2
    assert "REGENTE_MONGO_URL" in wrong.output


def refused(call: Any, *args: Any) -> bool:
    """Whether the database says that this user may not."""
    try:
        call(*args)
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            return True
        raise
    return False


def test_a_service_writes_its_own_collections_and_no_other(
    servers: Addresses, mongo_db: str, passwords: dict[str, str]
) -> None:
    for service in SERVICES:
        own = writes(service)
        with MongoClient[dict[str, Any]](as_user(servers.mongo, user_of(service), passwords[service])) as client:
            for name in (*COLLECTIONS, *BUCKETS):
                collection = client[mongo_db][name]
                inserts = refused(collection.insert_one, {"_id": f"{service}/{name}"})
                updates = refused(collection.update_one, {"_id": "nobody"}, {"$set": {"a": 1}})
                deletes = refused(collection.delete_one, {"_id": "nobody"})
                got = "".join(letter for letter, no in (("i", inserts), ("u", updates), ("d", deletes)) if not no)
                assert got == own.get(name, ""), (service, name)
                indexed = not refused(collection.create_index, [("of_mine", 1)])
                assert indexed == ("i" in got), (service, name)
                assert refused(collection.drop), (service, name)


def test_what_lets_somebody_in_is_read_by_few(servers: Addresses, mongo_db: str, passwords: dict[str, str]) -> None:
    for service in SERVICES:
        with MongoClient[dict[str, Any]](as_user(servers.mongo, user_of(service), passwords[service])) as client:
            for name in COLLECTIONS:
                may = service in READERS.get(name, SERVICES) or (name in writes(service) and name != "audit")
                assert refused(client[mongo_db][name].find_one) != may, (service, name)
            assert refused(client["another"]["tasks"].find_one)
            assert refused(client.admin["system.users"].find_one)
            assert refused(client.admin.command, "serverStatus") == (service != "alerts")


class Connection:
    """A service's connection; each call on a channel of its own, because a refusal closes it."""

    def __init__(self, url: str) -> None:
        self.raw = pika.BlockingConnection(pika.URLParameters(url))

    def may(self, method: str, *args: Any, **kwargs: Any) -> bool:
        """Whether the broker lets it."""
        channel = self.raw.channel()
        try:
            channel.confirm_delivery()
            getattr(channel, method)(*args, **kwargs)
        except ChannelClosedByBroker as error:
            if error.reply_code != ACCESS_REFUSED:
                raise
            return False
        channel.close()
        return True


def test_a_service_uses_its_own_queues_and_keys_and_no_other(amqp_url: str, passwords: dict[str, str]) -> None:
    admin = Connection(amqp_url)
    for exchange in EXCHANGES:
        assert admin.may("exchange_declare", exchange.name, exchange_type=exchange.type, durable=True)
    for queue in (*service_queues(), instructions_queue("w1")):
        assert admin.may("queue_declare", queue.name, durable=True, arguments=dict(queue.arguments))
        for bound in queue.bindings:
            assert admin.may("queue_bind", queue.name, bound.exchange, routing_key=bound.routing_key)
    for service in SERVICES:
        link = Connection(as_user(amqp_url, user_of(service), passwords[service]))
        own = {queue.name for queue in own_queues(service)}
        for exchange in EXCHANGES:
            assert link.may("exchange_declare", exchange.name, exchange_type=exchange.type, durable=True)
        for queue in service_queues():
            mine = queue.name in own
            looks = service == "console" and queue.name.endswith(".dead")
            declares = link.may("queue_declare", queue.name, durable=True, arguments=dict(queue.arguments))
            assert declares == mine, (service, queue.name)
            assert link.may("basic_get", queue.name, auto_ack=False) == (mine or looks), (service, queue.name)
            assert link.may("queue_purge", queue.name) == (mine or looks), (service, queue.name)
            for bound in queue.bindings:
                binds = link.may("queue_bind", queue.name, bound.exchange, routing_key=bound.routing_key)
                assert binds == mine, (service, queue.name)
        for key, senders in HINTS.items():
            assert link.may("basic_publish", HANDOFFS, key, b"{}") == (service in senders), (service, key)
        assert not link.may("basic_publish", WORKERS, "heartbeat.w1", b"{}"), service
        assert link.may("basic_publish", DEAD, "scheduler.handoffs", b"{}"), service
        robots = instructions_queue("w1").name
        assert link.may("basic_publish", "", robots, b"{}") == (service == "executor"), service
        assert not link.may("basic_get", robots) or service == "scheduler", service
        link.raw.close()
    admin.raw.close()
