"""Which deliveries a replay means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.delivery.core.replay import replay_query

MAY = datetime(2027, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"ids": ["a", "b"]}, {"_id": {"$in": ["a", "b"]}}),
        ({"endpoint": "acme/hook"}, {"account": "acme", "endpoint": "hook"}),
        ({"state": "dead", "account": "acme", "endpoint": "hook"}, {"account": "acme", "endpoint": "hook"}),
        ({"account": "acme", "workflow": "tax"}, {"account": "acme", "workflow": "tax"}),
        ({"account": "acme", "event": "held", "ids": None}, {"account": "acme", "event": "held"}),
        (
            {"account": "acme", "created_after": "2027-05-01T00:00:00Z", "created_before": "2027-05-01T02:00:00+02:00"},
            {"account": "acme", "created_at": {"$gte": MAY, "$lt": MAY}},
        ),
        ({"endpoint": "hook"}, None),
        ({"endpoint": "/hook"}, None),
        ({"endpoint": "acme/"}, None),
        ({"account": "acme"}, None),
        ({"account": "acme", "state": "dead"}, None),
        ({"account": "acme", "task": {"$ne": None}}, None),
        ({"account": "acme", "created_after": "soon"}, None),
        ({"ids": []}, None),
        ({"ids": [1], "account": "acme", "endpoint": "hook"}, None),
        ({"ids": "a"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_replay_names_ids_or_an_account_and_a_filter(
    args: dict[str, object], expected: dict[str, object] | None
) -> None:
    assert replay_query(args) == expected
