"""The broker's management API: robots' users, their permissions, their connections, and how deep the queues are.

Called by: scheduler (authorise, revoke, rebuild after a wipe), console (queues), cli (doctor). Survives a crash:
every call is idempotent, and what should be there is derived from `workers`. Change also: `worker_permissions` in the
topology.

Right after a robot connected, closing the connections of its user can miss it (the list lags behind), so that is
repeated until two looks in a row find none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from shared.contracts.topology import WorkerPermissions
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.outbound.trust import tls_context

TIMEOUT_S = 5.0
CLOSE_WITHIN_S = 10.0
CLOSE_PAUSE_S = 0.25
CLOSE_LOOKS = 3
"""Looks without a connection after which its user is taken as cut off."""


class BrokerAdmin:
    """Client of one management API (or a comma-separated list: the first that answers).

    admin_url: http(s)://user:password@host:15672. vhost: the virtual host of everything here. ca_file: PEM file of
    authorities besides the machine's.
    """

    def __init__(self, admin_url: str, vhost: str = "/", ca_file: str = "") -> None:
        self._vhost = quote(vhost, safe="")
        trust = tls_context(ca_file)
        self._clients = [_client(url.strip(), trust) for url in admin_url.split(",") if url.strip()]

    async def put_user(self, name: str, password: str, tags: str = "") -> None:
        """Make a user, or give the one of that name this password and these tags."""
        if not password:
            raise ValueError("a broker user without a password could log in with an empty one")
        await self._call("PUT", f"/api/users/{quote(name, safe='')}", {"password": password, "tags": tags})

    async def delete_user(self, name: str) -> None:
        """Remove a user; none of that name is fine. Its open connections stay: see close_connections."""
        await self._call("DELETE", f"/api/users/{quote(name, safe='')}", none_is_fine=True)

    async def put_permissions(self, user: str, permissions: WorkerPermissions) -> None:
        """Set what a user may configure, write and read, and which routing keys it may use."""
        who = quote(user, safe="")
        await self._call(
            "PUT",
            f"/api/permissions/{self._vhost}/{who}",
            {"configure": permissions.configure, "write": permissions.write, "read": permissions.read},
        )
        await self._call(
            "PUT",
            f"/api/topic-permissions/{self._vhost}/{who}",
            {
                "exchange": permissions.topic_exchange,
                "write": permissions.topic_write,
                "read": permissions.topic_read,
            },
        )

    async def users(self) -> list[str]:
        """Names of all users."""
        return [str(user["name"]) for user in await self._list("/api/users?columns=name")]

    async def connections(self, user: str) -> int:
        """How many connections a user has, as far as the broker's list goes."""
        found = await self._call("GET", f"/api/connections/username/{quote(user, safe='')}", none_is_fine=True)
        return len(found or [])

    async def close_connections(self, user: str) -> None:
        """Cut every connection of a user, and look again until there is none.

        The broker answers 500 when a connection ends by itself while it is cut; what is left is seen by the look.
        Raises: TemporaryError when some are left after CLOSE_WITHIN_S seconds, or when nobody answers.
        """
        who = quote(user, safe="")
        deadline = asyncio.get_running_loop().time() + CLOSE_WITHIN_S
        free_looks = 0
        while free_looks < CLOSE_LOOKS:
            with contextlib.suppress(TemporaryError):
                await self._call("DELETE", f"/api/connections/username/{who}", none_is_fine=True)
            free_looks = 0 if await self.connections(user) else free_looks + 1
            if free_looks < CLOSE_LOOKS:
                if asyncio.get_running_loop().time() > deadline:
                    raise TemporaryError(f"connections of {user} are still open")
                await asyncio.sleep(CLOSE_PAUSE_S)

    async def queues(self) -> list[dict[str, Any]]:
        """All queues: name, messages, messages_ready, messages_unacknowledged, consumers, type, state."""
        columns = "name,messages,messages_ready,messages_unacknowledged,consumers,type,state"
        return await self._list(f"/api/queues/{self._vhost}?columns={columns}")

    async def nodes(self) -> list[dict[str, Any]]:
        """All nodes: name, running, mem_alarm, disk_free_alarm, partitions (names of nodes that it lost)."""
        return await self._list("/api/nodes?columns=name,running,mem_alarm,disk_free_alarm,partitions")

    async def peek(self, queue: str, count: int = 50) -> list[dict[str, Any]]:
        """The first messages of a queue, without taking them; they count as redelivered from then on."""
        body = {"count": count, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 50_000}
        found = await self._call("POST", f"/api/queues/{self._vhost}/{quote(queue, safe='')}/get", body)
        return list(found or [])

    async def alive(self) -> bool:
        """Whether the management API answers, with this user's password."""
        try:
            await self._call("GET", "/api/whoami")
        except (TemporaryError, PermanentError):
            return False
        return True

    async def close(self) -> None:
        """Close the HTTP connections."""
        for client in self._clients:
            await client.aclose()

    async def _list(self, path: str) -> list[dict[str, Any]]:
        found = await self._call("GET", path)
        return list(found or [])

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, none_is_fine: bool = False
    ) -> Any:
        trouble: httpx.HTTPError | None = None
        for client in list(self._clients):
            try:
                answer = await client.request(method, path, json=body)
            except httpx.HTTPError as error:
                trouble = error
                self._clients.append(self._clients.pop(0))
                continue
            return _result(answer, none_is_fine)
        raise TemporaryError(f"the broker's management API does not answer: {trouble!r}") from trouble


def _client(url: str, trust: ssl.SSLContext) -> httpx.AsyncClient:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}{parts.path.rstrip('/')}"
    auth = httpx.BasicAuth(httpx.URL(url).username or "guest", httpx.URL(url).password or "guest")
    return httpx.AsyncClient(base_url=place, auth=auth, timeout=TIMEOUT_S, trust_env=False, verify=trust)


def _result(answer: httpx.Response, none_is_fine: bool) -> Any:
    if answer.status_code == 404 and none_is_fine:
        return None
    if answer.status_code in (401, 403):
        raise PermanentError(
            ErrorCode.FORBIDDEN, "the broker's management API refuses the log-in: check REGENTE_AMQP_ADMIN_URL"
        )
    if answer.status_code == 404:
        raise PermanentError(ErrorCode.NOT_FOUND, f"the broker does not know {answer.request.url.path}")
    if answer.is_error:
        raise TemporaryError(f"the broker's management API answers {answer.status_code}: {answer.text[:200]}")
    return answer.json() if answer.content else None
