"""A collector that ends at any line: after each of its calls to database, partner or folder.

The real parts on the real database and a real partner, in this process, so that it can end between any two calls: by an
exception that nothing here catches. Then another one takes over, as after kill -9, and what stands must be the same.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.collector.intake import Intake
from services.collector.sources import folder, timer
from services.collector.sources.files import FilePickup
from services.collector.sources.keeper import Keeper
from services.collector.sources.poll import Poller
from services.collector.sources.requests import Requests
from services.collector.sources.secrets import Secrets
from services.collector.sources.store import SourceStore
from services.collector.sources.web import Web
from services.collector.store import CollectorStore
from shared.broker import Broker
from shared.contracts.topology import service_queues
from shared.domain.addresses import networks
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.files import Files
from shared.mongo.indexes import apply_indexes
from shared.mongo.lease import Lease, Watch
from shared.outbound import Outbound, tls_context
from shared.outbound.resolver import Resolver
from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, Ground, ground
from tests.integration.sources.conftest import Account, new_account
from tests.integration.sources.partner import Partner

DEADLINE_S = 20.0


class Killed(BaseException):
    """The end of the process."""


class Deadly:
    """Stands around a part, and ends the process after call number `at`, counted over all parts."""

    def __init__(self, inner: Any, count: dict[str, int]) -> None:
        self._inner = inner
        self._count = count

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            answer = await found(*args, **more)
            self._step()
            return answer

        return call

    def _step(self) -> None:
        self._count["calls"] += 1
        if self._count["calls"] == self._count["at"]:
            raise Killed


@pytest.fixture(scope="module")
def alone(servers: Any) -> Iterator[Ground]:
    """A vhost and a database that no collector's process works on."""
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


@pytest.fixture
async def parts(alone: Ground) -> AsyncIterator[tuple[Mongo, Broker]]:
    """Connections of this process."""
    mongo = Mongo(alone.mongo_url, alone.db.name)
    await apply_indexes(mongo)
    broker = Broker([alone.amqp_url], instance="any-line", topology=service_queues())
    await broker.start()
    yield mongo, broker
    await broker.stop()
    await mongo.close()


async def one_collector(parts: tuple[Mongo, Broker], name: str, root: Path, at: int, account: Account) -> bool:
    """Let a collector work until its source was looked at, or it was killed after call number `at`; whether it was."""
    mongo, broker = parts
    count = {"calls": 0, "at": at}
    store = SourceStore(mongo)
    lease = Lease(mongo, f"collector/{name}", name, beat_s=0.05, still_s=1.0)
    assert await lease.acquire()
    lease.start()
    outbound = Outbound(Resolver(networks("127.0.0.0/8")), tls_context())
    deadly: Any = Deadly(store, count)
    web: Any = Deadly(Web(outbound, Secrets(store, Sealer(MASTER_KEY))), count)
    intake: Any = Deadly(Intake(CollectorStore(mongo), broker, files=Files(mongo), schemas_kept=8), count)
    opened = folder.opener(root)

    def open_place(session: Any) -> Any:
        return _Opened(opened(session), count)

    looks = {"poll": Poller(web).look, "folder": FilePickup(open_place).look, "timer": timer.look}
    keeper = Keeper(deadly, intake, looks, lease, Watch(mongo, "collector", 1.0), at_once=2)
    died: list[BaseException | None] = []
    end = time.monotonic() + DEADLINE_S
    try:
        while time.monotonic() < end:
            await keeper.sweep()
            hands = list(keeper._hands.values())
            for ended in await asyncio.gather(*hands, return_exceptions=True):
                died += [ended] if ended is not None else []
            if died or not account.db["sources"].find_one({"account": account.name, "next_at": {"$lte": _now()}}):
                break
    except Killed as error:
        died.append(error)
    await lease.stop()  # as if its counter stood still for long
    outbound.close()
    assert all(isinstance(one, Killed) for one in died), died
    return bool(died)


class _Opened:
    """A folder whose calls are counted, too."""

    def __init__(self, inner: Any, count: dict[str, int]) -> None:
        self._inner = inner
        self._count = count

    async def __aenter__(self) -> Any:
        return Deadly(await self._inner.__aenter__(), self._count)

    async def __aexit__(self, *how: Any) -> Any:
        return await self._inner.__aexit__(*how)


def _now() -> datetime:
    return datetime.now(UTC) + timedelta(milliseconds=5)


def polled(account: Account, partner: Partner) -> str:
    """Five orders in three pages, with a cursor and acknowledgements."""
    partner.orders.clear()
    partner.acknowledged.clear()
    partner.add(5)
    return account.add(
        "orders",
        {
            "kind": "poll",
            "schedule": {"every_s": 3600},
            "request": {"url": f"{partner.url}/orders", "params": {"size": "2", "after": "{cursor}"}},
            "items": "orders",
            "item": {"reference": "id", "input": {"registration": "registration"}},
            "paging": {"kind": "link"},
            "cursor": {"expression": "last"},
            "acknowledge": {"url": f"{partner.url}/ack", "body": {"references": "{references}"}},
        },
    )


async def test_a_poller_that_ends_at_any_line(
    parts: tuple[Mongo, Broker], alone: Ground, tmp_path: Path, partner: Partner
) -> None:
    at, killed = 0, True
    while killed:
        account = new_account(alone, tmp_path)
        id = polled(account, partner)
        at += 1
        killed = await one_collector(parts, "first", tmp_path, at, account)
        assert not await one_collector(parts, "second", tmp_path, 0, account)
        source = account.source(id)
        where = f"killed at call {at}: {source}"
        assert account.references() == ["1", "2", "3", "4", "5"], where
        assert set(partner.acknowledged) == {"1", "2", "3", "4", "5"}, where
        assert (source["cursor"], source["position"], source["owed"]) == ("2026-01-01T00:00:000005", None, []), where
        assert source["counters"]["taken"] <= 5, where  # what was stored just before the end counts as there before
        assert "holder" not in source, where
        account.db["sources"].delete_many({"account": account.name})
    assert at > 15  # it did end in many places


async def test_a_pick_up_that_ends_at_any_line(parts: tuple[Mongo, Broker], alone: Ground, tmp_path: Path) -> None:
    at, killed = 0, True
    while killed:
        account = new_account(alone, tmp_path)
        inbox = tmp_path / account.name / "in"
        inbox.mkdir(parents=True)
        (inbox / "a.csv").write_text("reference,registration\nA,1\nB,x\n")
        (inbox / "b.csv").write_text("reference,registration\nC,3\n")
        settings = {"kind": "folder", "schedule": {"every_s": 3600}, "folder": "in", "settle_s": 0.2}
        id = account.add("files", settings)
        at += 1
        killed = await one_collector(parts, "first", tmp_path, at, account)
        unclaimed = (inbox / "a.csv").exists()
        (tmp_path / "new").write_text("reference,registration\nN,4\n")
        os.replace(tmp_path / "new", inbox / "a.csv")  # its partner puts the next one there
        account.again(id)
        assert not await one_collector(parts, "second", tmp_path, 0, account)
        assert account.references() == (["C", "N"] if unclaimed else ["A", "C", "N"]), f"killed at call {at}"
        found = sorted(str(one.relative_to(inbox)) for one in inbox.rglob("*") if one.is_file())
        assert {one.partition("/")[0] for one in found} == {"taken"}, f"killed at call {at}"
        assert len(found) == (2 if unclaimed else 4), f"killed at call {at}: {found}"
        assert "holder" not in account.source(id)
        account.db["sources"].delete_many({"account": account.name})
    assert at > 10


async def test_a_timer_that_ends_at_any_line(parts: tuple[Mongo, Broker], alone: Ground, tmp_path: Path) -> None:
    at, killed = 0, True
    while killed:
        account = new_account(alone, tmp_path)
        settings = {
            "kind": "timer", "schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "input": {"registration": "1"},
            "missed": "catch_up",
        }  # fmt: skip
        id = account.add("yearly", settings, since=datetime.now(UTC) - timedelta(days=500))
        at += 1
        killed = await one_collector(parts, "first", tmp_path, at, account)
        assert not await one_collector(parts, "second", tmp_path, 0, account)
        assert len(account.references()) == 1, f"killed at call {at}"
        assert account.source(id)["fired"] == datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)
        account.db["sources"].delete_many({"account": account.name})
    assert at > 5


async def test_a_look_now_at_a_source_that_is_off_is_served_once(
    parts: tuple[Mongo, Broker], alone: Ground, tmp_path: Path
) -> None:
    """Laid down, because the database was away, it was looked at again by no schedule; and what a person wanted is
    served when their request comes again, as it does until it has ended."""
    mongo, broker = parts
    account = new_account(alone, tmp_path)
    settings = {"kind": "timer", "schedule": {"cron": "0 0 1 1 *", "timezone": "UTC"}, "input": {"registration": "1"}}
    id = account.add("yearly", settings, enabled=False, next_at=datetime.now(UTC))  # as an earlier release left it
    account.db["commands"].insert_one({"_id": f"cmd_{account.name}", "state": "pending", "to": "collector"})
    command = {"_id": f"cmd_{account.name}", "target": id, "by": "ada"}
    looks: list[str] = []

    async def look(session: Any, at: datetime) -> bool:
        looks.append(session.source.get("asked", {}).get("command", ""))
        if len(looks) == 1:
            raise TemporaryError("the database was away")
        return False

    lease = Lease(mongo, "collector/off", "off", beat_s=0.05, still_s=1.0)
    assert await lease.acquire()
    store, intake = SourceStore(mongo), Intake(CollectorStore(mongo), broker, files=Files(mongo), schemas_kept=8)
    keeper = Keeper(store, intake, {"timer": look}, lease, Watch(mongo, "collector", 1.0), at_once=2)
    requests = Requests(store, intake, {"timer": look}, kick=lambda: None)

    async def swept() -> tuple[int, Any, set[str]]:
        """After a sweep: how many looks there were, when the next one is, and what stands in the source for it."""
        await keeper.sweep()
        await asyncio.gather(*keeper._hands.values())
        source = account.source(id)
        return len(looks), source["next_at"], {"wanted", "asked", "holder"}.intersection(source)

    assert (await swept())[0] == 0
    await requests.on_run(command)
    assert await swept() == (1, None, set())
    assert await swept() == (1, None, set())
    await requests.on_run(command)
    assert await swept() == (2, None, set())
    ended = account.db["commands"].find_one({"_id": command["_id"]})
    assert (ended["state"], ended["reason"]) == ("done", "0 taken, 0 there before, 0 refused")
    await requests.on_run(command)
    assert await swept() == (2, None, set())
    account.db["sources"].update_one({"_id": id}, {"$set": {"settings": {"of": "another release"}}})
    await requests.on_run({**command, "_id": "cmd_another"})
    assert await swept() == (2, None, set())
    assert account.source(id)["failures"] == 1
    await lease.stop()
    account.db["sources"].delete_one({"_id": id})
