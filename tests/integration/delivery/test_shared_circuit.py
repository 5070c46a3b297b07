"""A circuit is shared: several instances change it, and each change counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.delivery.core.circuit import Circuit, Rules, after_answer, begin_probe, circuit_of
from services.delivery.core.outcome import Answer
from services.delivery.store_endpoints import EndpointStore
from shared.mongo import Mongo
from shared.mongo.endpoints import put_endpoint
from shared.mongo.indexes import apply_indexes
from shared.obs.clock import now
from shared.seal import Sealer

RULES = Rules(failures=10, pause_s=3600, pause_s_max=3600)


@pytest.fixture
async def stores(mongo_url: str, mongo_db: str) -> AsyncIterator[list[EndpointStore]]:
    """Two instances' view of an account with one endpoint."""
    clients = [Mongo(mongo_url, mongo_db), Mongo(mongo_url, mongo_db)]
    await apply_indexes(clients[0])
    fields = {"kind": "webhook", "url": "https://a.example/", "signatures": ["v1"]}
    sealer = Sealer(bytes(range(32)))
    await put_endpoint(clients[0], sealer, "acme", "hook", fields, secret=None, overlap_s=0, at=now())
    yield [EndpointStore(client) for client in clients]
    for client in clients:
        await client.close()


async def failures(store: EndpointStore, times: int) -> None:
    """So many failures, at once."""

    def change(circuit: Circuit) -> Circuit:
        return after_answer(circuit, Answer(500), probe=False, rules=RULES, now=now(), jitter=0)

    await asyncio.gather(*(store.change_circuit("acme/hook", change) for _ in range(times)))


async def test_every_instances_failures_count_and_it_opens_once(stores: list[EndpointStore]) -> None:
    await asyncio.gather(*(failures(store, 8) for store in stores))
    circuit = circuit_of(((await stores[0].endpoint("acme", "hook")) or {}).get("circuit"))
    assert (circuit.failures, circuit.open, await stores[1].open_count()) == (16, True, 1)
    told = await stores[0].mongo["events"].find({"target": "acme/hook"}).to_list(None)
    assert [event["kind"] for event in told] == ["endpoint_down"]
    assert await stores[0].untold() == []


async def test_one_of_them_probes(stores: list[EndpointStore]) -> None:
    await failures(stores[0], 10)
    seen = circuit_of(((await stores[0].endpoint("acme", "hook")) or {}).get("circuit"))

    def probe(circuit: Circuit) -> Circuit:
        return begin_probe(circuit, now=now(), for_s=30) if circuit == seen else circuit

    won = await asyncio.gather(*(store.change_circuit("acme/hook", probe) for store in stores * 4))
    assert won.count(True) == 1


async def test_what_a_process_that_died_had_not_told_is_told_by_the_sweep(stores: list[EndpointStore]) -> None:
    told = {
        "id": "endpoint/acme/hook/down_1", "kind": "endpoint_down", "severity": "warning", "at": now(), "text": "down",
    }  # fmt: skip
    await stores[0].mongo["endpoints"].update_one({"_id": "acme/hook"}, {"$set": {"circuit.tell": told}})
    for endpoint in await stores[1].untold():
        await stores[1].tell(endpoint)
        await stores[0].tell(endpoint)
    assert await stores[0].mongo["events"].count_documents({"_id": told["id"]}) == 1
    assert await stores[0].untold() == []


async def test_an_endpoint_that_is_gone_has_no_circuit(stores: list[EndpointStore]) -> None:
    await stores[0].remove_endpoint("acme", "hook")
    await failures(stores[1], 1)
    assert await stores[0].endpoint("acme", "hook") is None
