"""What the broker holds for robots now, read over its management API.

Called by: rights.py, every few seconds and after each reconnect. Reads only; writing is shared.broker.admin. Change
also: shared.contracts.topology (permissions).
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote

import httpx

from services.scheduler.core.rights import WORKER_USER, Found
from shared.contracts.topology import worker_permissions
from shared.errors import TemporaryError
from shared.outbound.trust import tls_context

TIMEOUT_S = 5.0


class BrokerView:
    """Reads users, permissions and queues of one virtual host."""

    def __init__(self, admin_url: str, vhost: str, ca_file: str = "") -> None:
        self._vhost = quote(vhost, safe="")
        trust = tls_context(ca_file)
        self._clients = [_client(url.strip(), trust) for url in admin_url.split(",") if url.strip()]

    async def close(self) -> None:
        """Close the connections to the API."""
        for client in self._clients:
            await client.aclose()

    async def look(self) -> Found:
        """Everything at once.

        Raises: TemporaryError when the API does not answer, or not as expected.
        """
        vhost = self._vhost
        users = await self._get("/api/users")
        plain = await self._get(f"/api/vhosts/{vhost}/permissions")
        topics = await self._get(f"/api/vhosts/{vhost}/topic-permissions")
        queues = await self._get(f"/api/queues/{vhost}?columns=name&disable_stats=true&enable_queue_totals=true")
        return Found(
            users={user["name"]: user.get("password_hash") or "" for user in users},
            here=frozenset(entry["user"] for entry in plain),
            permitted=_permitted(plain, topics),
            queues=frozenset(queue["name"] for queue in queues),
        )

    async def _get(self, path: str) -> list[dict[str, Any]]:
        """A list, from the first node that answers."""
        trouble: Exception | None = None
        for client in list(self._clients):
            try:
                answer = await client.get(path)
                answer.raise_for_status()
                return list(answer.json())
            except (httpx.HTTPError, ValueError, TypeError) as error:
                trouble = error
                self._clients.append(self._clients.pop(0))
        place = path.split("?")[0]
        raise TemporaryError(f"the broker's management API does not answer {place}: {trouble!r}") from trouble


def _client(url: str, trust: ssl.SSLContext) -> httpx.AsyncClient:
    parts = httpx.URL(url)
    base = parts.copy_with(username=None, password=None, path=parts.path.rstrip("/"))
    auth = httpx.BasicAuth(parts.username, parts.password) if parts.username else None
    return httpx.AsyncClient(base_url=base, auth=auth, timeout=TIMEOUT_S, trust_env=False, verify=trust)


def _permitted(plain: list[dict[str, Any]], topics: list[dict[str, Any]]) -> frozenset[str]:
    """Robots' users that have exactly the permissions they should have."""
    by_topic: dict[str, list[dict[str, Any]]] = {}
    for entry in topics:
        by_topic.setdefault(entry["user"], []).append(entry)
    fine = set()
    for entry in plain:
        match = WORKER_USER.match(entry["user"])
        if match is None:
            continue
        wanted = worker_permissions(match[1])
        mine = (entry["configure"], entry["write"], entry["read"]) == (wanted.configure, wanted.write, wanted.read)
        topic = [(one["exchange"], one["write"], one["read"]) for one in by_topic.get(entry["user"], [])]
        if mine and topic == [(wanted.topic_exchange, wanted.topic_write, wanted.topic_read)]:
            fine.add(entry["user"])
    return frozenset(fine)
