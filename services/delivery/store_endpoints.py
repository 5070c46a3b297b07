"""Delivery's queries about endpoints: reading them, their circuits, and disabling one.

Called by: sender.py, handlers.py, endpoints_api.py. Making and changing them: shared/mongo/endpoints.py. Survives a
crash: a circuit is part of the endpoint's document and changes by guarded updates that name the revision they saw, so
that every instance's failures count; what people are told of it is written with the change (`circuit.tell`) and told
by who wrote it or by the sweep. Change also: shared/mongo/indexes.py, ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from services.delivery.core.circuit import Circuit, circuit_of, document_of
from shared.domain.events import EventKind, Severity, event_document
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.endpoints import HIDDEN
from shared.mongo.events import raise_event
from shared.mongo.guarded import guarded_update
from shared.obs.clock import now
from shared.obs.ids import new_id

CHANGES_TRIED_MAX = 50
TOLD_MAX = 100


class EndpointStore:
    """Endpoints as delivery sees them."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo

    async def endpoint(self, account: str, name: str) -> dict[str, Any] | None:
        """An endpoint with its sealed secrets."""
        found: dict[str, Any] | None = await self.mongo["endpoints"].find_one({"_id": f"{account}/{name}"})
        return found

    async def endpoints_by_id(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Endpoints with their sealed secrets, by id."""
        found = self.mongo["endpoints"].find({"_id": {"$in": list(ids)}})
        return {document["_id"]: document async for document in found}

    async def shown(self, account: str, name: str) -> dict[str, Any] | None:
        """An endpoint without what is secret."""
        found: dict[str, Any] | None = await self.mongo["endpoints"].find_one({"_id": f"{account}/{name}"}, HIDDEN)
        return found

    async def endpoints(self, account: str, after: str, limit: int) -> list[dict[str, Any]]:
        """An account's endpoints by name, without what is secret."""
        query = {"account": account, "name": {"$gt": after}}
        cursor = self.mongo["endpoints"].find(query, HIDDEN).sort("name", 1)
        return list(await cursor.limit(limit).to_list(limit))

    async def endpoints_count(self, account: str) -> int:
        """How many endpoints an account has."""
        return int(await self.mongo["endpoints"].count_documents({"account": account}))

    async def remove_endpoint(self, account: str, name: str) -> bool:
        """Remove an endpoint; false when there was none."""
        return bool((await self.mongo["endpoints"].delete_one({"_id": f"{account}/{name}"})).deleted_count)

    async def disable_endpoint(self, endpoint: Mapping[str, Any], reason: str) -> None:
        """Disable an endpoint, if it is still the one that answered so."""
        expect = {"enabled": True, "url": endpoint.get("url"), "secrets": endpoint.get("secrets")}
        told = _told(endpoint, EventKind.ENDPOINT_DISABLED, new_id("off_"), f"endpoint is disabled: {reason}")
        update = {"$set": {"enabled": False, "disabled_reason": reason, "circuit.tell": told}}
        done = await guarded_update(self.mongo["endpoints"], endpoint["_id"], expect, update, op=new_id("op_"))
        if done.applied and done.document is not None:
            await self.tell(done.document)

    # circuits

    async def change_circuit(self, id: str, change: Callable[[Circuit], Circuit]) -> bool:
        """Change an endpoint's circuit as it is now; false when there is nothing to change, or no endpoint.

        change: pure; called again when another instance was faster. Raises: TemporaryError.
        """
        for _ in range(CHANGES_TRIED_MAX):
            found = await self.mongo["endpoints"].find_one({"_id": id}, {"circuit": 1, "account": 1, "name": 1})
            if found is None:
                return False
            stored = found.get("circuit") or {}
            before = circuit_of(stored)
            after = change(before)
            if after == before:
                return False
            if await self._store_circuit(found, stored, before, after):
                return True
        raise TemporaryError(f"the circuit of {id} changes all the time")

    async def _store_circuit(
        self, endpoint: Mapping[str, Any], stored: Mapping[str, Any], before: Circuit, after: Circuit
    ) -> bool:
        rev = stored.get("rev")
        told = _transition(endpoint, before, after) or stored.get("tell")
        circuit = {**document_of(after), "rev": int(rev or 0) + 1, **({"tell": told} if told else {})}
        done = await guarded_update(
            self.mongo["endpoints"], endpoint["_id"], {"circuit.rev": rev}, {"$set": {"circuit": circuit}},
            op=new_id("op_"),
        )  # fmt: skip
        if done.applied and told and done.document is not None:
            await self.tell(done.document)
        return done.applied

    async def untold(self) -> list[dict[str, Any]]:
        """Endpoints of which something is to be told."""
        query = {"circuit.tell.id": {"$exists": True}}
        return list(await self.mongo["endpoints"].find(query, HIDDEN).limit(TOLD_MAX).to_list(TOLD_MAX))

    async def open_count(self) -> int:
        """How many circuits are open."""
        return int(await self.mongo["endpoints"].count_documents({"circuit.open": True}))

    async def tell(self, endpoint: Mapping[str, Any]) -> None:
        """Raise the event of what happened to an endpoint, then note that it was."""
        told = (endpoint.get("circuit") or {}).get("tell")
        if not told:
            return
        event = event_document(
            EventKind(told["kind"]), id=told["id"], at=told["at"], service="delivery",
            severity=Severity(told["severity"]), target=endpoint["_id"], account=endpoint["account"],
            text=told["text"],
        )  # fmt: skip
        await raise_event(self.mongo, event)
        query = {"_id": endpoint["_id"], "circuit.tell.id": told["id"]}
        await self.mongo["endpoints"].update_one(query, {"$unset": {"circuit.tell": ""}})


def _transition(endpoint: Mapping[str, Any], before: Circuit, after: Circuit) -> dict[str, Any] | None:
    """What is told of a change, if anything."""
    if after.open and not before.open:
        text = f"nothing gets through after {after.failures} failures in a row ({after.reason}); deliveries wait"
        return _told(endpoint, EventKind.ENDPOINT_DOWN, new_id("down_"), text)
    if before.open and not after.open:
        return _told(endpoint, EventKind.ENDPOINT_UP, new_id("up_"), "it takes deliveries again; what waited goes out")
    return None


def _told(endpoint: Mapping[str, Any], kind: EventKind, mark: str, text: str) -> dict[str, Any]:
    severity = Severity.INFO if kind is EventKind.ENDPOINT_UP else Severity.WARNING
    return {
        "id": f"endpoint/{endpoint['_id']}/{mark}", "kind": kind.value, "severity": severity.value, "at": now(),
        "text": f"endpoint {endpoint['_id']}: {text}",
    }  # fmt: skip
