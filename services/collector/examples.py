"""One example per route of the partners' API, and which call follows which answer.

Called by: main.py, docs/generate.py. Change also: nothing; tests validate the examples against the schemas, and run
them against the real service.
"""

from __future__ import annotations

import json
from typing import Any

from shared.runtime.openapi import Example, Link

ABOUT = (
    "Partners hand tasks in here and ask where they stand. Every call carries `Authorization: Bearer <key>`. Errors "
    "are problem+json (RFC 9457). Repeating a call is safe: a reference names one task of a workflow for ever, and an "
    "`Idempotency-Key` makes all attempts of a call one. docs/partners.md goes through all of it with curl."
)
TASK, BATCH, EVIDENCE = (
    "task_01941f29e8c07b3a9d5e4f6071829304", "batch_01941f29e8b87d1c8a2b3c4d5e6f7081", "ev_5f2c7d9a1b3e4860",
)  # fmt: skip
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PUSH: dict[str, Any] = {
    "workflow": "tax-certificate",
    "tasks": [
        {"reference": "order-4711", "input": {"registration": "12345678"}},
        {
            "reference": "order-4712",
            "input": {"registration": "87654321"},
            "priority": 3,
            "deadline": "2099-12-31T18:00:00-03:00",
        },
        {"reference": "order-4713", "input": {"registration": "not a number"}},
    ],
}
LINES = "".join(json.dumps(item) + "\n" for item in PUSH["tasks"])
PUSHED = {
    "batch": BATCH,
    "accepted": [
        {"index": 0, "reference": "order-4711", "id": TASK, "duplicate": False},
        {"index": 1, "reference": "order-4712", "id": f"{TASK[:-1]}5", "duplicate": False},
    ],
    "rejected": [
        {
            "index": 2,
            "reference": "order-4713",
            "errors": [
                {
                    "code": "INVALID_INPUT",
                    "message": "'not a number' does not match '^[0-9]+$'",
                    "path": "/input/registration",
                }
            ],
        }
    ],
}
QUEUED: dict[str, Any] = {
    "id": TASK, "reference": "order-4711", "workflow": "tax-certificate", "batch": BATCH, "state": "queued",
    "priority": None, "attempts": 0, "created_at": "2027-01-31T12:00:00.000Z", "finished_at": None, "result": None,
    "error": None, "evidence": [], "hold": None, "why_waiting": "behind 3 others",
}  # fmt: skip
SUCCEEDED: dict[str, Any] = {
    **QUEUED, "state": "succeeded", "attempts": 1, "finished_at": "2027-01-31T12:01:30.250Z", "why_waiting": None,
    "result": {"protocol": "2027-000123"},
    "evidence": [
        {"id": EVIDENCE, "name": "certificate issued", "media_type": "image/png", "size_bytes": 48213,
         "sha256": SHA256, "url": f"https://collector.example/v1/evidence/{EVIDENCE}"}
    ],
}  # fmt: skip
STATES = {"queued": 1, "running": 0, "held": 0, "succeeded": 1, "failed": 0, "cancelled": 0, "expired": 0}
BATCH_VIEW = {
    "id": BATCH, "workflow": "tax-certificate", "created_at": "2027-01-31T12:00:00.000Z", "count": 3, "rejected": 1,
    "duplicates": 0, "complete": True, "tasks": 2, "finished": 1, "progress": 0.5, "done": False, "states": STATES,
}  # fmt: skip
FILE: dict[str, Any] = {
    "id": "file_0b6f2c1d9e8a47738a1f5c3e2d4b6a90", "name": "form.png", "media_type": "image/png", "size_bytes": 48213,
    "sha256": SHA256, "created_at": "2027-01-31T11:59:00.000Z", "duplicate": False,
}  # fmt: skip
ONE = {"id": TASK}
LISTED = "$response.body#/items/0/id"

EXAMPLES: dict[str, Example] = {
    "POST /v1/tasks": Example(
        request=PUSH,
        requests={"application/x-ndjson": LINES},
        answers={202: PUSHED},
        links=[
            Link(202, "get_task", {"id": "$response.body#/accepted/0/id"}),
            Link(202, "get_batch", {"id": "$response.body#/batch"}),
            Link(202, "cancel_task", {"id": "$response.body#/accepted/0/id"}),
            Link(202, "list_tasks", {"reference": "$response.body#/accepted/0/reference"}),
        ],
    ),
    "GET /v1/tasks": Example(
        parameters={"workflow": "tax-certificate", "limit": 50},
        answers={200: {"items": [SUCCEEDED], "next": None}},
        links=[Link(200, "get_task", {"id": LISTED}), Link(200, "cancel_task", {"id": LISTED})],
    ),
    "GET /v1/tasks/{id}": Example(
        parameters=ONE,
        answers={200: SUCCEEDED},
        links=[
            Link(200, "get_batch", {"id": "$response.body#/batch"}),
            Link(200, "get_evidence", {"id": "$response.body#/evidence/0/id"}),
        ],
    ),
    "DELETE /v1/tasks/{id}": Example(
        parameters=ONE,
        answers={
            200: {**QUEUED, "state": "cancelled", "finished_at": "2027-01-31T12:00:05.000Z", "why_waiting": None},
            202: {**QUEUED, "state": "running", "attempts": 1, "why_waiting": None},
            409: {
                "type": "about:blank", "title": "Conflict", "status": 409, "code": "FINAL",
                "detail": "the task is succeeded and can't be cancelled",
            },
        },
        links=[Link(status, "get_task", {"id": "$response.body#/id"}) for status in (200, 202)],
    ),
    "GET /v1/batches": Example(
        parameters={"workflow": "tax-certificate"},
        answers={200: {"items": [BATCH_VIEW], "next": None}},
        links=[Link(200, "get_batch", {"id": LISTED})],
    ),
    "GET /v1/batches/{id}": Example(parameters={"id": BATCH}, answers={200: BATCH_VIEW}),
    "POST /v1/files": Example(
        request={"file": "a picture of the form"},
        requests={"application/octet-stream": "a picture of the form"},
        answers={200: {**FILE, "duplicate": True}, 201: FILE},
        links=[Link(status, "get_file", {"id": "$response.body#/id"}) for status in (200, 201)],
    ),
    "GET /v1/files/{id}": Example(parameters={"id": FILE["id"]}),
    "GET /v1/evidence/{id}": Example(parameters={"id": EVIDENCE}),
}  # fmt: skip
