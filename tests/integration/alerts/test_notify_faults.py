"""Killed with -9 between any two steps, or done by several at once: nothing that was to be told is lost, and what may
be told twice says so."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.domain.alert_rules import RuleKind
from shared.domain.notification_state import NotificationState
from shared.obs.clock import now
from tests.integration.alerts.conftest import Alerts
from tests.integration.alerts.post import ANN, BOB, Post, Telling, post_office
from tests.integration.executor.server.mail_peer import mail_peer

ROOT = Path(__file__).parents[3]
GATHERED, MARKED, CLOSED, CLAIMED, SENT, NOTED = STEPS = range(1, 7)
"""What notify does with an alert, one after the other: five writes, and the mail between the last two."""


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with post_office() as made:
        yield made


def smtp(port: int) -> str:
    return f"smtp://127.0.0.1:{port}?starttls=no"


@pytest.fixture
async def telling(alerts: Alerts, post: Post) -> AsyncIterator[Telling]:
    made = Telling.of(alerts.world, smtp_url=smtp(post.port))
    await alerts.rule(RuleKind.ROBOT_LOST)
    yield made
    made.notify.channels.close()


async def process(telling: Telling, die_after: int) -> tuple[int, str]:
    """Notify as a process; its exit code and what it printed."""
    settings = telling.settings
    given = {
        "AMQP_URL": settings.amqp_url, "MONGO_URL": settings.mongo_url, "MONGO_DB": settings.mongo_db,
        "MASTER_KEY": settings.master_key.get_secret_value(), "INSTANCE": settings.instance,
        "SMTP_URL": settings.smtp_url.get_secret_value(), "MAIL_FROM": settings.mail_from,
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGENTE_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.alerts.dying_process", cwd=ROOT,
        env={**kept, **{f"REGENTE_{name}": value for name, value in given.items()}, "DIE_AFTER": str(die_after)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode is not None
    return child.returncode, said.decode()


def check_told_once_or_marked(post: Post, subject: str, *, first_may_be_marked: bool = False) -> int:
    """At least once, and each time but the first marked; how often."""
    found = [one for one in post.subjects() if one.endswith(subject)]
    assert found, f"nobody was told: {subject}; {post.subjects()}"
    assert first_may_be_marked or found[0] == subject, found
    assert all(one == f"[maybe a repeat] {subject}" for one in found[1:]), found
    return len(found)


@pytest.mark.stack
async def test_killed_after_any_step_of_telling_that_it_is_wrong_and_that_it_is_over(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    mongo, again = telling.world.mongo, 0
    await telling.recipient()
    for n in (0, *STEPS):
        await mongo["alerts"].delete_many({})
        await mongo["notifications"].delete_many({})
        post.got.clear()
        robot = await telling.world.robot(n + 1, connected=False)
        await alerts.run()
        code, said = await process(telling, n)
        assert code == (-signal.SIGKILL if n else 0), said
        assert n or said.split()[-1] == str(NOTED), said
        await telling.notify.sender.begin()  # the same instance, started again
        await telling.step()
        await telling.step()
        claimed = n in (CLAIMED, SENT)
        subject = f"[error] A robot is lost: worker/{robot}"
        times = check_told_once_or_marked(post, subject, first_may_be_marked=n == CLAIMED)
        assert times == 1 or claimed, "only what was claimed and not noted is sent again"
        again += times - 1
        await mongo["workers"].update_many({}, {"$set": {"connected": True}})
        await alerts.run()
        await telling.step()
        check_told_once_or_marked(post, f"[over] A robot is lost: worker/{robot}")
        (alert,) = await alerts.all()
        assert alert["notify"] is None
        assert {one["state"] for one in await telling.all()} == {"sent"}
    assert again == 1, "killed after it was sent and before that was noted"


async def test_several_at_once_tell_each_thing_once(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await telling.recipient("*/night", {"kind": "mail", "address": BOB})
    for n in range(8):
        await telling.world.robot(n + 1, connected=False)
    await alerts.run()
    others = [Telling.of(telling.world, smtp_url=smtp(post.port), instance=f"alerts-{n}") for n in (2, 3)]
    both = [telling, *others]
    for _ in range(3):
        await asyncio.gather(*(one.notify.planner.sweep() for one in both))
        await asyncio.gather(*(one.notify.closing.sweep() for one in both))
        await asyncio.gather(*(one.notify.sender.sweep() for one in both))
    for to in (ANN, BOB):
        assert post.subjects(to) == ["[error] 8 alerts: A robot is lost"]
    items = [item["id"] for one in await telling.all() for item in one["items"]]
    assert len(items) == 16
    assert len(set(items)) == 8
    for one in others:
        one.notify.channels.close()


async def test_several_at_once_add_to_what_is_gathered_once(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient(group_wait_s=3600)
    await telling.world.robot(1, connected=False)
    await alerts.run()
    await telling.step()
    others = [Telling.of(telling.world, smtp_url=smtp(post.port), instance=f"alerts-{n}") for n in (2, 3, 4)]
    for n in range(2, 12, 2):
        await telling.world.robot(n, connected=False)
        await telling.world.robot(n + 1, connected=False)
        await alerts.run()
        await asyncio.gather(*(one.notify.planner.sweep() for one in (telling, *others)))
    (gathered,) = await telling.all()
    items = [item["id"] for item in gathered["items"]]
    assert len(items) == len(set(items)) == gathered["count"] == 11
    for one in others:
        one.notify.channels.close()


async def test_an_instance_that_vanished_is_taken_over_by_another_and_the_repeat_is_marked(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    await telling.recipient()
    await telling.world.robot(1, connected=False)
    await alerts.run()
    await telling.notify.planner.sweep()
    await telling.notify.closing.sweep()
    (found,) = await telling.notify.store.to_send(now(), 10)
    assert await telling.notify.store.claim(found, "alerts-1", "claim_1", now()) is not None
    other = Telling.of(telling.world, smtp_url=smtp(post.port), instance="alerts-2")
    await other.step()
    assert post.subjects() == ["[maybe a repeat] [error] A robot is lost: worker/00155d010001"]
    late = await telling.notify.store.note(
        found["_id"], "claim_1", NotificationState.SENT, {}, due_at=None, reason=None, doubt=False, now=now()
    )  # fmt: skip
    assert not late, "what the vanished one would note does not count any more"
    other.notify.channels.close()


async def test_two_that_want_the_same_message_at_once(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await telling.world.robot(1, connected=False)
    await alerts.run()
    await telling.notify.planner.sweep()
    await telling.notify.closing.sweep()
    (found,) = await telling.notify.store.to_send(now(), 10)
    store = telling.notify.store
    claims = await asyncio.gather(*(store.claim(found, f"alerts-{n}", f"claim_{n}", now()) for n in range(5)))
    assert len([one for one in claims if one is not None]) == 1


async def test_refused_it_is_sent_later_and_only_doubt_is_marked(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await telling.world.robot(1, connected=False)
    await alerts.run()
    post.refuse += ["451 not now", "452 not now either"]

    async def sent() -> dict[str, Any]:
        await telling.step()
        return (await telling.all())[0]

    while (found := await sent())["state"] != "sent":
        assert found["state"] == "retrying"
        assert "45" in found["reason"]
        await telling.world.mongo["notifications"].update_many({}, {"$set": {"due_at": now()}})
    assert post.subjects() == ["[error] A robot is lost: worker/00155d010001"]
    assert [bool(one["error"]) for one in found["attempts"]] == [True, True, False]
    assert "live" not in found


async def test_silence_after_the_whole_mail_is_doubt(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await telling.world.robot(1, connected=False)
    await alerts.run()
    async with mail_peer(fault="drop-after-message") as peer:
        doubtful = Telling.of(telling.world, smtp_url=smtp(peer.port))
        await doubtful.step()
        doubtful.notify.channels.close()
    (found,) = await telling.all()
    assert (found["state"], found["maybe_repeat"]) == ("retrying", True)
    await telling.world.mongo["notifications"].update_many({}, {"$set": {"due_at": now()}})
    await telling.notify.sender.sweep()
    assert post.subjects() == ["[maybe a repeat] [error] A robot is lost: worker/00155d010001"]


async def test_a_channel_that_takes_nothing_holds_back_nobody_else_and_what_waits_comes_together(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    """While a message waits to be taken, what comes is gathered; a channel that comes back is told of it at once."""
    await telling.recipient()
    await telling.recipient("*/hook", {"kind": "webhook", "address": "http://127.0.0.1:1/x"})
    for n in range(4):
        await telling.world.robot(n + 1, connected=False)
        await alerts.run()
        await telling.step()
    assert len(post.subjects()) == 4
    hooked = await telling.all(recipient="*/hook")
    assert [(one["state"], one["count"]) for one in hooked] == [("retrying", 1), ("gathering", 3)]


async def test_a_recipient_that_is_gone_is_noted_and_given_up(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await telling.recipient("*/night", {"kind": "mail", "address": BOB})
    await telling.world.robot(1, connected=False)
    await alerts.run()
    await telling.notify.planner.sweep()
    await telling.world.mongo["recipients"].delete_one({"_id": "*/night"})
    await telling.step()
    states = {one["recipient"]: (one["state"], one["reason"]) for one in await telling.all()}
    assert states["*/ops"] == ("sent", None)
    assert states["*/night"][0] == "dead"
    assert "no more" in str(states["*/night"][1])
