"""Events of one task go in order to one endpoint, and hold up nothing else."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from shared.contracts.messages import TaskFinished
from tests.integration.collector.running import until
from tests.integration.delivery.conftest import Account, Answer


def then(account: Account, id: str, event: str, **fields: object) -> None:
    """A task that was told of goes on to another event."""
    until(lambda: account.db["tasks"].find_one({"_id": id, "pending": None}), "the event before is settled")
    at = datetime.now(UTC)
    pending = {"to": "delivery", "what": event, "since": at, "due_at": at, "claims": 0}
    change = {"$set": {"pending": pending, "state": event, **fields}, "$inc": {f"events.{event}": 1}}
    account.db["tasks"].update_one({"_id": id}, change)
    account.ground.publish("task.finished", TaskFinished(task=id, event=event))


def types(account: Account) -> list[tuple[str, str]]:
    """What arrived, in order: type and task."""
    found = [request.verify(account.secret) for request in account.side.got(account.path)]
    return [(content["type"], content["data"]["id"]) for content in found]


def test_a_later_event_waits_until_the_earlier_one_is_delivered(account: Account) -> None:
    account.endpoint(schedule_s=[0.5, 0.5])
    account.side.will(account.path, Answer(500))
    id = account.finish("held")
    until(lambda: (account.delivery(id, "held") or {}).get("attempts"), "the first attempt")
    then(account, id, "succeeded")
    until(lambda: account.delivery(id, "succeeded"), "the second event's delivery is made")
    other = account.finish()
    account.until_delivery(id, "delivered", "succeeded")
    account.until_delivery(other, "delivered")
    mine = [kind for kind, task in types(account) if task == id]
    assert mine == ["task.held", "task.held", "task.succeeded"]


def test_an_earlier_event_that_is_given_up_lets_the_later_one_go(account: Account) -> None:
    account.endpoint(schedule_s=[0.3])
    account.side.will(account.path, Answer(500), Answer(500))
    id = account.finish("held")
    until(lambda: (account.delivery(id, "held") or {}).get("attempts"), "the first attempt")
    then(account, id, "failed")
    account.until_delivery(id, "dead", "held")
    account.until_delivery(id, "delivered", "failed")
    assert [kind for kind, _ in types(account)] == ["task.held", "task.held", "task.failed"]


def test_a_later_event_is_not_sent_while_the_earlier_one_is_under_way(account: Account) -> None:
    account.endpoint()
    release = threading.Event()
    account.side.will(account.path, Answer(wait=release))
    id = account.finish("held")
    until(lambda: account.side.got(account.path), "the first is under way")
    then(account, id, "succeeded")
    until(lambda: (account.delivery(id, "succeeded") or {}).get("behind"), "the second waits behind it")
    other = account.finish()
    account.until_delivery(other, "delivered")
    assert [kind for kind, task in types(account) if task == id] == ["task.held"]
    release.set()
    account.until_delivery(id, "delivered", "succeeded", deadline_s=10)
    assert [kind for kind, task in types(account) if task == id] == ["task.held", "task.succeeded"]
