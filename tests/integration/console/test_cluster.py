"""The installation's health and its dead letters."""

from __future__ import annotations

import httpx

from shared.contracts.topology import DEAD, EXECUTOR_HANDOFFS
from tests.integration.console.site import Site, until


def test_cluster_shows_broker_database_and_silent_services(console: Site, admin: httpx.Client) -> None:
    found = admin.get("cluster").json()
    assert found["database"]["ready"] is True
    assert found["broker"]["connected"] is True
    services = {one["service"]: one for one in found["services"]}
    assert services["console"]["ready"] is True
    assert set(services) >= {"collector", "scheduler", "executor", "delivery"}
    assert services["executor"]["ready"] is False
    assert services["executor"]["reason"]
    assert EXECUTOR_HANDOFFS in {one["name"] for one in found["broker"]["queues"]}


def test_dead_letters_are_shown_and_stay(console: Site, admin: httpx.Client) -> None:
    body = {
        "properties": {"headers": {"regente-reason": "not JSON"}, "message_id": "m-1"},
        "routing_key": EXECUTOR_HANDOFFS,
        "payload": "{broken",
        "payload_encoding": "string",
    }
    path = f"{console.ground.amqp_admin_url}/api/exchanges/{console.ground.vhost}/{DEAD}/publish"
    assert httpx.post(path, json=body, timeout=20).json() == {"routed": True}
    queue = f"{EXECUTOR_HANDOFFS}.dead"

    def letters() -> list[dict[str, object]]:
        found: list[dict[str, object]] = admin.get("dead-letters", params={"queue": queue}).json()["items"]
        return found

    (letter,) = until(letters, "the dead letter")
    assert (letter["died_in"], letter["reason"], letter["payload"]) == (EXECUTOR_HANDOFFS, "not JSON", "{broken")
    assert until(letters, "the dead letter once more") == [letter]
    assert letter in admin.get("dead-letters").json()["items"]
    assert admin.get("dead-letters", params={"queue": "executor.handoffs"}).status_code == 404
