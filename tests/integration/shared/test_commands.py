"""Durable requests: issued, hinted at, swept, ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.contracts.messages import CommandIssued
from shared.contracts.topology import SCHEDULER_HANDOFFS, service_queues
from shared.errors import PermanentError
from shared.mongo import Mongo
from shared.obs.clock import now
from shared.runtime import commands
from shared.testing import StubBroker


async def issued(mongo: Mongo, broker: Any) -> str:
    return await commands.issue(
        mongo, broker, kind="worker.authorise", to="scheduler", target="0a0b", args={"account": "acme"}, by="anna"
    )


async def test_hint_reaches_the_owner_who_ends_it_while_the_issuer_waits(mongo: Mongo) -> None:
    broker = StubBroker(topology=service_queues())
    await broker.start()

    async def on_command_issued(message: CommandIssued, _: Any) -> None:
        found = await commands.find(mongo, message.command)
        assert found is not None
        assert found["args"] == {"account": "acme"}
        assert await commands.finish(mongo, message.command, "done", "authorised")

    await broker.consume(SCHEDULER_HANDOFFS, on_command_issued)
    command = await issued(mongo, broker)
    ended = await commands.wait(mongo, command, 5)
    assert (ended["state"], ended["reason"], ended["by"]) == ("done", "authorised", "anna")
    assert await commands.find(mongo, command) is None
    assert not await commands.finish(mongo, command, "refused", "too late")
    assert (await commands.wait(mongo, command, 0))["state"] == "done"
    await broker.stop()


async def test_lost_hint_is_no_error_and_the_sweep_finds_it(mongo: Mongo) -> None:
    command = await issued(mongo, StubBroker())
    assert (await commands.wait(mongo, command, 0.05))["state"] == "pending"
    assert await commands.pending(mongo, "scheduler") == [], "not due yet: the hint has its chance first"
    await mongo["commands"].update_one({"_id": command}, {"$set": {"due_at": now()}})
    claimed = await asyncio.gather(*(commands.pending(mongo, "scheduler") for _ in range(4)))
    assert [each["_id"] for found in claimed for each in found] == [command], "one sweeper has it"
    assert await commands.pending(mongo, "executor") == []


async def test_claims_back_off_and_poison_is_refused(mongo: Mongo) -> None:
    command = await issued(mongo, StubBroker())
    waits = []
    for _ in range(commands.CLAIMS_MAX):
        await mongo["commands"].update_one({"_id": command}, {"$set": {"due_at": now()}})
        (found,) = await commands.pending(mongo, "scheduler")
        waits.append(round((found["due_at"] - now()).total_seconds()))
    assert waits[:5] == [2, 4, 8, 16, 32]
    assert set(waits[5:]) == {60}
    await mongo["commands"].update_one({"_id": command}, {"$set": {"due_at": now()}})
    assert await commands.pending(mongo, "scheduler") == []
    ended = await commands.wait(mongo, command, 0)
    assert ended["state"] == "refused"
    assert ended["reason"].startswith("POISON")


async def test_unknown_request(mongo: Mongo) -> None:
    with pytest.raises(PermanentError, match="there is no request"):
        await commands.wait(mongo, "cmd_none", 1)
