"""One example per route of the partners' API, and which call follows which answer.

Called by: main.py, docs/generate.py. Change also: nothing; tests validate the examples against the schemas, and run
them against the real service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.runtime.openapi import Example, Link

ABOUT = (
    "Partners read the results feed here, and say where webhooks are posted. Every call carries `Authorization: Bearer "
    "<key>`. Errors are problem+json (RFC 9457). docs/partners.md goes through all of it with curl."
)
CLOSED = {"open": False, "failures": 0, "reason": None, "opened_at": None, "waits_until": None}
ENDPOINT: dict[str, Any] = {
    "name": "orders", "kind": "webhook", "url": "https://erp.example.com/regente", "events": ["succeeded", "failed"],
    "signatures": ["v1"], "public_keys": [], "overlap_until": None, "schedule_s": None, "concurrency": None,
    "breaker_failures": None, "evidence": "links", "inline_size_bytes_max": 1048576, "options": None, "enabled": True,
    "disabled_reason": None, "circuit": CLOSED, "created_at": "2027-01-31T12:00:00.000Z", "secret": None,
}  # fmt: skip
TASK: dict[str, Any] = {
    "id": "task_01941f29e8c07b3a9d5e4f6071829304", "reference": "order-4711", "workflow": "tax-certificate",
    "batch": "batch_01941f29e8b87d1c8a2b3c4d5e6f7081", "state": "succeeded", "priority": None, "attempts": 1,
    "created_at": "2027-01-31T12:00:00.000Z", "finished_at": "2027-01-31T12:01:30.250Z",
    "result": {"protocol": "2027-000123"}, "error": None, "evidence": [], "hold": None, "why_waiting": None,
}  # fmt: skip
AFTER = "eyJuIjo0MX0"
READER = {"name": "erp", "after": AFTER, "acknowledged_at": "2027-01-31T12:05:00.000Z", "behind": 0}
PUT: dict[str, Any] = {"url": ENDPOINT["url"], "events": ENDPOINT["events"]}
MADE: dict[str, Any] = {**ENDPOINT, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="}
DELIVERY: dict[str, Any] = {
    "id": f"{TASK['id']}:orders:succeeded", "endpoint": "orders", "type": "task.succeeded", "task": TASK["id"],
    "webhook_id": "msg_5f2c7d9a1b3e48605f2c7d9a1b3e4860", "state": "retrying",
    "reason": "the endpoint answered 503", "attempts_made": 1,
    "attempts": [{"at": "2027-01-31T12:01:31.000Z", "status": 503, "duration_s": 0.215,
                  "error": "the endpoint answered 503", "answer": "back in a minute"}],
    "next_at": "2027-01-31T12:01:36.120Z", "created_at": "2027-01-31T12:01:30.900Z", "delivered_at": None,
}  # fmt: skip
BODY = json.dumps({"type": "task.succeeded", "timestamp": "2027-01-31T12:01:30.900Z", "data": TASK})
BY_NAME = {"name": "orders"}
SAME = {"name": "$request.path.name"}
LISTED = {"name": "$response.body#/items/0/name"}


def _then(status: int, *names: str, parameters: Mapping[str, str] = SAME) -> list[Link]:
    return [Link(status, name, {} if name == "list_endpoints" else parameters) for name in names]


EXAMPLES: dict[str, Example] = {
    "GET /v1/results": Example(
        parameters={"limit": 100},
        answers={200: {"items": [TASK], "next": None, "after": AFTER}},
        links=[Link(200, "list_results", {"after": "$response.body#/after"})],
    ),
    "POST /v1/results/ack": Example(
        name="acknowledge_results",
        request={"after": None, "name": "erp"},
        answers={200: READER},
        links=[
            Link(200, "list_results", {"reader": "$response.body#/name"}),
            Link(200, "forget_reader", {"name": "$response.body#/name"}),
            Link(200, "list_readers", {}),
        ],
    ),
    "GET /v1/results/readers": Example(
        answers={200: {"items": [READER], "next": None}},
        links=[Link(200, "forget_reader", {"name": "$response.body#/items/0/name"})],
    ),
    "DELETE /v1/results/readers/{name}": Example(parameters={"name": "erp"}, links=[Link(204, "list_readers", {})]),
    "GET /v1/endpoints": Example(
        answers={200: {"items": [ENDPOINT], "next": None}},
        links=_then(200, "put_endpoint", "get_endpoint", "delete_endpoint", parameters=LISTED),
    ),
    "PUT /v1/endpoints/{name}": Example(
        name="put_endpoint",
        parameters=BY_NAME,
        request=PUT,
        answers={200: ENDPOINT, 201: MADE},
        links=[
            *_then(200, "get_endpoint", "put_endpoint", "list_endpoints", "delete_endpoint"),
            *_then(201, "get_endpoint", "put_endpoint", "list_endpoints", "rotate_endpoint", "test_endpoint"),
        ],
    ),
    "GET /v1/endpoints/{name}": Example(name="get_endpoint", parameters=BY_NAME, answers={200: ENDPOINT}),
    "DELETE /v1/endpoints/{name}": Example(
        name="delete_endpoint", parameters=BY_NAME, links=_then(204, "put_endpoint", "get_endpoint")
    ),
    "POST /v1/endpoints/{name}/rotate": Example(
        name="rotate_endpoint",
        parameters=BY_NAME,
        request={"overlap_s": 86400},
        answers={200: {**MADE, "overlap_until": "2027-02-01T12:00:00.000Z"}},
        links=_then(200, "get_endpoint"),
    ),
    "POST /v1/endpoints/{name}/test": Example(
        name="test_endpoint",
        parameters=BY_NAME,
        answers={202: {"delivery": "test_01941f29e8c07b3a9d5e4f6071829304:orders:test"}},
        links=[Link(202, "get_delivery", {"id": "$response.body#/delivery"})],
    ),
    "GET /v1/deliveries": Example(
        parameters={"endpoint": "orders"},
        answers={200: {"items": [DELIVERY], "next": None}},
        links=[Link(200, "get_delivery", {"id": "$response.body#/items/0/id"})],
    ),
    "GET /v1/deliveries/{id}": Example(
        parameters={"id": DELIVERY["id"]},
        answers={200: {**DELIVERY, "body": BODY}},
    ),
    "POST /v1/deliveries/replay": Example(
        name="replay_deliveries", request={"endpoint": "orders"}, answers={200: {"replayed": 3}}
    ),
}
