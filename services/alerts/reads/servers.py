"""What is wrong with the database, the broker and the services, by their own answers.

Called by: health.py. Reads only, each call with a short limit of time. A service is down when it does not answer
/healthz at its address, or when an instance's lease stands still; time in which leases could not be read does not
count.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

from services.alerts.core.findings import Observation
from shared.broker.admin import BrokerAdmin
from shared.contracts.topology import SERVICE_QUEUES
from shared.errors import PermanentError, RegenteError, TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.lease import StillTimes
from shared.obs.clock import monotonic_s

PROBE_TIMEOUT_S = 3.0
STATUS_TIMEOUT_S = 6.0
LEASES_MAX = 5000
FORGET = timedelta(hours=1)
"""An instance that died so long ago is not missed, when others of its service live: it was taken away."""
NOT_ALLOWED = 13
_PROCESS = re.compile(r"-[0-9a-f]{8}$")
PRIMARY, SECONDARY = "PRIMARY", "SECONDARY"
PASSING = frozenset({"STARTUP", "STARTUP2", "ARBITER"})


async def look_at_database(mongo: Mongo) -> list[Observation]:
    """What is wrong with the replica set; nothing: empty. `measures.lost`: there is no primary that takes writes."""
    status, reason = await _status(mongo), ""
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            await mongo.ping()
    except (TemporaryError, TimeoutError) as error:
        reason = first_line(error).partition(" (configured timeouts")[0] or "no answer in time"
    members = list((status or {}).get("members") or ())
    troubles, lags = _members(members)
    if reason:
        up = [one for one in members if one.get("health") == 1]
        majority = f"the majority is lost: {len(up)} of {len(members)} members are up" if members else reason
        troubles.insert(0, f"no primary takes writes ({majority})")
    if not troubles and not any(lags.values()):
        return []
    measures = {"troubles": troubles, "lags": lags, "lost": bool(reason)}
    facts = {"members": {one["name"]: one.get("stateStr") for one in members}, "lags": lags}
    return [Observation("database", "the database is not well", facts=facts, measures=measures)]


async def _status(mongo: Mongo) -> dict[str, Any] | None:
    """What any member says about the set; none: nobody answers, or this user may not ask."""
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            found: dict[str, Any] = await mongo.client.admin.command(
                "replSetGetStatus", read_preference=ReadPreference.SECONDARY_PREFERRED
            )
            return found
    except OperationFailure as error:
        if error.code != NOT_ALLOWED:
            return None
        return {}
    except (PyMongoError, TimeoutError):
        return None


def _members(members: list[Mapping[str, Any]]) -> tuple[list[str], dict[str, float]]:
    """Members that are down, two primaries, and how far secondaries are behind, in seconds."""
    primaries = [one for one in members if one.get("stateStr") == PRIMARY]
    troubles = [
        f"member {one['name']} is {one.get('stateStr') or 'away'}".replace("(not reachable/healthy)", "not reachable")
        for one in members
        if one.get("stateStr") not in (PRIMARY, SECONDARY, *PASSING)
    ]
    if len(primaries) > 1:
        troubles.append(f"two members say that they are primary: {', '.join(one['name'] for one in primaries)}")
    lags: dict[str, float] = {}
    if len(primaries) == 1 and primaries[0].get("optimeDate"):
        for one in members:
            if one.get("stateStr") == SECONDARY and one.get("optimeDate"):
                lag_s = (primaries[0]["optimeDate"] - one["optimeDate"]).total_seconds()
                lags[one["name"]] = max(round(lag_s, 1), 0.0)
    return troubles, lags


async def look_at_broker(admin: BrokerAdmin | None, connected: bool) -> list[Observation]:
    """What is wrong with the broker (target `broker`), and every queue of the services that holds something."""
    troubles = [] if connected else ["this service has no connection to it"]
    nodes: list[dict[str, Any]] = []
    queues: list[dict[str, Any]] = []
    if admin is not None:
        try:
            nodes, queues = await asyncio.gather(admin.nodes(), admin.queues())
        except (TemporaryError, PermanentError, RegenteError) as error:
            troubles.append(first_line(error))
    for node in nodes:
        troubles += _node(node)
    found = [_queue(name, waiting, dead) for name, waiting, dead in _depths(queues) if waiting or dead]
    if troubles:
        text = f"the broker is not well: {'; '.join(troubles)}"
        found.append(Observation("broker", text, facts={"troubles": troubles}))
    return found


def _node(node: Mapping[str, Any]) -> list[str]:
    name = node.get("name")
    if not node.get("running", True):
        return [f"node {name} is down"]
    said = [f"node {name} raises its memory alarm: publishers are blocked"] if node.get("mem_alarm") else []
    said += [f"node {name} raises its disk alarm: publishers are blocked"] if node.get("disk_free_alarm") else []
    return said + ([f"node {name} lost {', '.join(node['partitions'])}"] if node.get("partitions") else [])


def _depths(queues: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Messages and dead letters of each service queue."""
    counts = {queue["name"]: int(queue.get("messages") or 0) for queue in queues}
    return [
        (queue.name, counts.get(queue.name, 0), counts.get(queue.dead, 0) if queue.dead else 0)
        for queue in SERVICE_QUEUES
    ]


def _queue(name: str, waiting: int, dead: int) -> Observation:
    measures = {"messages": waiting, "dead": dead}
    return Observation(f"queue/{name}", f"queue {name}", scope={"service": name}, measures=measures)


async def look_at_services(addresses: Mapping[str, str], trust: ssl.SSLContext) -> list[Observation]:
    """Services that don't answer at their address. trust: whom to believe where it is https."""
    async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, verify=trust) as client:
        reasons = await asyncio.gather(*(_probe(client, url) for url in addresses.values()))
    return [
        Observation(
            f"service/{name}",
            f"service {name} does not answer at {url}: {reason}",
            facts={"service": name, "url": url, "reason": reason},
            scope={"service": name},
        )
        for (name, url), reason in zip(addresses.items(), reasons, strict=True)
        if reason
    ]


async def _probe(client: httpx.AsyncClient, url: str) -> str:
    try:
        answer = await client.get(f"{url}/healthz")
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return "" if answer.status_code == 200 else f"status {answer.status_code}"


class Instances:
    """Watches the leases of services' instances."""

    def __init__(self, mongo: Mongo, services: list[str], *, still_s: float, interval_s: float) -> None:
        self._mongo = mongo
        self._services = services
        self._still_s = still_s
        self._still = StillTimes(gap_counted_s_max=2 * interval_s + PROBE_TIMEOUT_S)

    async def look(self, now: datetime) -> list[Observation]:
        """Instances that beat no more and did not say that they leave.

        Raises: PyMongoError.
        """
        ranges = [{"_id": {"$gte": f"{name}/", "$lt": f"{name}0"}} for name in self._services]
        if not ranges:
            return []
        found = await self._mongo["leases"].find({"$or": ranges}).limit(LEASES_MAX).to_list(None)
        at_s = monotonic_s()
        self._still.keep_only({one["_id"] for one in found})
        dead: list[dict[str, Any]] = []
        alive: set[str] = set()
        places: set[str] = set()
        for one in found:
            still_s = self._still.look(one["_id"], int(one["token"]), int(one["counter"]), at_s)
            if one.get("owner") is not None:
                if still_s >= self._still_s:
                    dead.append(one)
                else:
                    alive.add(_service(one))
                    places.add(_place(one))
        missing = [one for one in dead if _place(one) not in places]
        return [_instance(one) for one in missing if not (_service(one) in alive and _long_gone(one, now))]


def _service(lease: Mapping[str, Any]) -> str:
    return str(lease["_id"]).partition("/")[0]


def _place(lease: Mapping[str, Any]) -> str:
    """Service and instance, without what an executor adds to tell its process from the one before it."""
    return _PROCESS.sub("", str(lease["_id"]))


def _long_gone(lease: Mapping[str, Any], now: datetime) -> bool:
    at = lease.get("at")
    return isinstance(at, datetime) and now - at > FORGET


def _instance(lease: Mapping[str, Any]) -> Observation:
    service, _, instance = str(lease["_id"]).partition("/")
    facts = {"service": service, "instance": instance, "host": lease.get("host"), "url": lease.get("url")}
    text = f"instance {instance} of service {service} does not beat"
    return Observation(f"service/{service}/{instance}", text, facts=facts, scope={"service": service})
