"""How accepted items stand in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.collector.core.documents import Push, batch_document, task_documents
from shared.intake.items import Item

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
PUSH = Push("acme", "erp", "tax", "batch_1", NOW, 1_000_000, "00-a-b-01")


def of(index: int, not_before: datetime | None = None, priority: int | None = None) -> Item:
    return Item(
        index=index, reference=f"r{index}", input={"a": 1}, digest="d", priority=priority, not_before=not_before
    )


@given(st.integers(-1000, 1000), st.none() | st.integers(0, 5))
def test_a_task_stands_in_the_queue_exactly_when_it_may_run_now(seconds: int, priority: int | None) -> None:
    at = NOW + timedelta(seconds=seconds)
    [document] = task_documents(PUSH, [of(0, at, priority)], {"r0": "task_1"}, op="op")
    assert ("queue" in document) == (seconds <= 0)
    if "queue" in document:
        assert document["queue"]["list"] == f"acme/tax/{'i' if priority is None else priority}"


def test_tasks_of_a_push_keep_their_order() -> None:
    items = [of(index) for index in range(5)]
    documents = task_documents(PUSH, items, {item.reference: f"task_{item.index}" for item in items}, op="op")
    ranks = [document["queue"]["rank"] for document in documents]
    assert ranks == sorted(set(ranks))
    assert [(one["_id"], one["reference"]) for one in documents] == [(f"task_{n}", f"r{n}") for n in range(5)]


def test_a_new_task_is_nobodys_and_owes_nothing() -> None:
    [document] = task_documents(PUSH, [of(0)], {"r0": "task_1"}, op="op_1")
    assert (document["state"], document["held_by"], document["pending"], document["attempts"]) == (
        "queued",
        None,
        None,
        0,
    )
    assert document["history"][0]["state"] == "queued"
    assert (document["account"], document["partner"], document["batch"]) == ("acme", "erp", "batch_1")


def test_a_batch_counts_its_items() -> None:
    document = batch_document(PUSH, count=5, rejected=2, complete=True)
    assert (document["_id"], document["count"], document["rejected"]) == ("batch_1", 5, 2)
