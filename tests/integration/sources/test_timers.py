"""Timers: a time makes one task for ever; missed times are caught up once or skipped, and written down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.sources.conftest import Account


def timer(**changes: Any) -> dict[str, Any]:
    """Settings of a timer."""
    schedule = {"cron": "* * * * *", "timezone": "America/Sao_Paulo"}
    return {"kind": "timer", "schedule": schedule, "input": {"registration": "1"}, **changes}


def ago(**how: int) -> datetime:
    """A time that has passed, to the millisecond."""
    at = datetime.now(UTC) - timedelta(**how)
    return at.replace(microsecond=0)


def minute(at: datetime) -> str:
    """As it stands in a reference."""
    return at.replace(second=0).strftime("%Y-%m-%dT%H:%M:00Z")


def test_a_time_that_comes_makes_its_task_once(account: Account) -> None:
    settings = timer(input={"registration": "1", "day": "{due_date}", "at": "{due_local}"}, priority=4, deadline_s=7200)
    id = account.add("minutely", settings, since=ago(seconds=60))
    look = account.looked(id)
    at = account.source(id)["fired"]
    assert look["taken"] == 1
    task = account.tasks()[0]
    assert ago(seconds=75) < at <= datetime.now(UTC)
    assert task["reference"] == f"minutely:{minute(at)}"
    assert (task["priority"], task["source"], task["partner"]) == (4, id, id)
    assert task["input"]["at"].endswith(":00-03:00")
    assert task["deadline"] == at + timedelta(hours=2)
    source = account.source(id)
    assert at.second == 0
    assert source["next_at"] > source["fired"]
    # somebody puts it back to before that time, as a crash before the write would
    account.db["sources"].update_one({"_id": id}, {"$set": {"fired": None}})
    account.again(id)
    assert account.looked(id, 2)["duplicates"] == 1
    assert len(account.tasks()) == 1 + account.log(id)[1]["taken"]  # the next minute may have come


def test_missed_times_are_skipped_or_caught_up_once_and_written_down(account: Account) -> None:
    settings = timer(schedule={"cron": "0 * * * *", "timezone": "UTC"}, late_s=1)
    since = (ago(hours=0).replace(minute=0, second=0) - timedelta(hours=5)) + timedelta(minutes=30)
    skips = account.add("skips", settings, since=since)
    catches = account.add("catches", {**settings, "missed": "catch_up"}, since=since)
    off = account.add("off", {**settings, "missed": "catch_up"}, since=datetime.now(UTC))
    newest = ago(hours=0).replace(minute=0, second=0)
    skipped = account.looked(skips)["missed"]
    assert (skipped["count"], skipped["times"][-1], skipped["caught_up"]) == (5, newest, None)
    assert account.looked(catches)["missed"]["caught_up"] == newest
    assert account.looked(off)["missed"] is None
    assert account.references() == [f"catches:{minute(newest)}"]
    assert account.source(skips)["fired"] == newest


def test_a_timer_whose_workflow_is_not_there_waits_for_it(account: Account) -> None:
    id = account.add("early", timer(), workflow="later", since=ago(minutes=2))
    look = account.looked(id)
    assert "nothing can be taken" in look["reason"]
    assert "there is no workflow 'later'" in look["reason"]
    assert "fired" not in account.source(id)
