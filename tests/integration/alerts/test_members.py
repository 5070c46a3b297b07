"""A replica set of three of this test's own: a member that lags, one that is away, a majority that is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from deploy.local import parts
from deploy.local.settings import free_ports, read_settings
from services.alerts.core.findings import Observation
from services.alerts.reads.servers import look_at_database
from shared.mongo import Mongo

NAMES = ("a", "b", "c")


def launch(name: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    program, env = parts.mongod(read_settings().home)
    data = folder / name
    data.mkdir()
    argv = [str(program), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "three"]
    argv += ["--oplogSize", "64", "--dbpath", str(data), "--wiredTigerCacheSizeGB", "0.25", "--quiet"]
    argv += ["--wiredTigerEngineConfigString", "log=(file_max=16MB)"]
    argv += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
    return subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[tuple[dict[str, subprocess.Popen[bytes]], dict[str, int]]]:
    ports = free_ports(NAMES, start=26000)
    children = {name: launch(name, ports[name], tmp_path) for name in NAMES}
    try:
        await asyncio.to_thread(_initiate, ports)
        yield children, ports
    finally:
        for child in children.values():
            child.send_signal(signal.SIGCONT)
            child.kill()
            child.wait(10)


def _direct(port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=20_000)


def _initiate(ports: dict[str, int]) -> None:
    members = [{"_id": n, "host": f"127.0.0.1:{ports[name]}"} for n, name in enumerate(NAMES)]
    members[0]["priority"] = 2
    settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 300}
    for port in ports.values():
        with _direct(port) as client:
            client.admin.command("ping")
    with _direct(ports["a"]) as client:
        client.admin.command("replSetInitiate", {"_id": "three", "members": members, "settings": settings})


async def _until(mongo: Mongo, check: Callable[[list[Observation]], bool], within_s: float = 40.0) -> list[Observation]:
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found = await look_at_database(mongo)
        if check(found):
            return found
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.1)


async def _synced(mongo: Mongo, within_s: float = 40.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    states: list[str] = []
    while states != ["PRIMARY", "SECONDARY", "SECONDARY"]:
        assert asyncio.get_running_loop().time() < deadline, states
        await asyncio.sleep(0.1)
        status = await mongo.client.admin.command("replSetGetStatus")
        states = sorted(member["stateStr"] for member in status["members"])


def _lock(member: MongoClient[dict[str, Any]], tries: int = 200) -> None:
    """Let a member answer, and apply nothing; one that has just joined can't at once."""
    for left in range(tries, 0, -1):
        try:
            member.admin.command("fsync", lock=True)
            return
        except OperationFailure:
            if left == 1:
                raise
            time.sleep(0.1)


def _troubles(found: list[Observation]) -> list[str]:
    return list(found[0].measures["troubles"]) if found else []


def _lag_s(found: list[Observation]) -> float:
    return max(found[0].measures["lags"].values(), default=0.0) if found else 0.0


@pytest.mark.slow
async def test_what_is_wrong_with_members(three: tuple[dict[str, subprocess.Popen[bytes]], dict[str, int]]) -> None:
    children, ports = three
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports.values())
    mongo = Mongo(f"mongodb://{hosts}/?replicaSet=three", "test")
    try:
        await _synced(mongo)
        with _direct(ports["c"]) as c:
            await asyncio.to_thread(_lock, c)
            await _until(mongo, _writing(mongo, lambda found: _lag_s(found) >= 1 and not _troubles(found)))
            await asyncio.to_thread(c.admin.command, "fsyncUnlock")
        await _until(mongo, lambda found: _lag_s(found) < 1)
        children["c"].kill()
        away = f"member 127.0.0.1:{ports['c']} is not reachable"
        (found,) = await _until(mongo, lambda found: away in _troubles(found))
        assert not found.measures["lost"], "two of three take writes"
        children["b"].kill()
        (found,) = await _until(mongo, lambda found: bool(found and found[0].measures["lost"]))
        assert "the majority is lost: 1 of 3 members are up" in found.measures["troubles"][0]
    finally:
        await mongo.close()


def _writing(mongo: Mongo, check: Callable[[list[Observation]], bool]) -> Callable[[list[Observation]], bool]:
    """Something is written at each look, so that there is something to lag behind."""
    written: list[Awaitable[Any]] = []

    def look(found: list[Observation]) -> bool:
        written.append(asyncio.ensure_future(mongo["things"].insert_one({})))
        return check(found)

    return look
