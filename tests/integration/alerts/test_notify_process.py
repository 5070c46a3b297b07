"""The real process with everything wired: it tells, is killed with -9 while it does, and started again; it beats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.domain.recipients import Channel, ChannelKind, Recipient, channel_id, recipient_document
from tests.integration.alerts.post import ANN, post_office
from tests.integration.collector.running import Ground, ground, launch, running, until, wait_ready
from tests.integration.delivery.conftest import PartnerSide

ROBOTS = 30


@pytest.fixture
def scene(servers: Any) -> Iterator[Ground]:
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


@pytest.fixture
def side() -> Iterator[PartnerSide]:
    made = PartnerSide()
    yield made
    made.close()


def _ann() -> dict[str, Any]:
    channel = Channel(id=channel_id(ChannelKind.MAIL, ANN), kind=ChannelKind.MAIL, address=ANN)
    eager: dict[str, Any] = {"group_wait_s": 0, "group_interval_s": 0, "rate": {"messages": 1000, "per_s": 60}}
    one = Recipient.model_validate({"_id": "*/ann", "channels": [channel.model_dump()], **eager})
    return recipient_document(one, at=datetime.now(UTC), by="test")


@pytest.mark.stack
async def test_killed_while_it_tells_and_started_again(scene: Ground, side: PartnerSide, tmp_path: Path) -> None:
    async with post_office() as post:
        env = {
            "REGENTE_SMTP_URL": f"smtp://127.0.0.1:{post.port}?starttls=no",
            "REGENTE_MAIL_FROM": "regente@acme.example", "REGENTE_ALERTS_SERVICES": "",
            "REGENTE_ALERTS_EVALUATE_S": "0.1", "REGENTE_ALERTS_NOTIFY_S": "0.1", "REGENTE_SWEEP_S": "0.1",
            "REGENTE_ALERTS_RETRY_S": "0.1", "REGENTE_ALERTS_BEAT_URL": f"{side.url}/beat",
            "REGENTE_ALERTS_BEAT_INTERVAL_S": "0.3",
        }  # fmt: skip
        first = launch("alerts", scene, tmp_path, "alerts-1", **env)
        try:
            await asyncio.to_thread(wait_ready, first)
            scene.db["recipients"].insert_one(_ann())
            scene.db["rules"].update_many({"_id": {"$ne": "robot_lost"}}, {"$set": {"enabled": False}})
            scene.db["rules"].update_one({"_id": "robot_lost"}, {"$set": {"for_s": 0.0}})
            robot = {"authorisation": "authorised", "account": None, "run": None, "quarantine": None}
            for n in range(ROBOTS):
                scene.db["workers"].insert_one({**robot, "_id": f"r{n}", "addresses": [f"r{n}"], "connected": False})
                if n == 1:
                    await asyncio.to_thread(until, lambda: post.got, "somebody is told")
        finally:
            first.kill()
        with running("alerts", scene, tmp_path, "alerts-1", **env):
            await asyncio.to_thread(until, lambda: _told(scene) == ROBOTS, "all of them are told")
            await asyncio.to_thread(until, lambda: side.got("/beat"), "it beats")
            scene.db["workers"].update_many({}, {"$set": {"connected": True}})
            await asyncio.to_thread(until, lambda: _told(scene, "resolved") == ROBOTS, "all of them are over")
            await asyncio.to_thread(
                until, lambda: not scene.db["notifications"].count_documents({"live": True}), "all of it is sent"
            )
        mails = post.subjects()
        sent = scene.db["notifications"].count_documents({"state": "sent"})
        repeated = [subject for subject in mails if subject.startswith("[maybe a repeat]")]
        assert len(mails) - sent <= len(repeated) <= 1, mails
        assert json.loads(side.got("/beat")[-1].body)["ok"] is True
        log = first.log.read_text()
        assert "Traceback" not in log, log


def _told(on: Ground, what: str = "firing") -> int:
    """Alerts of which a message that was sent says so."""
    found = on.db["notifications"].find({"state": "sent"}, {"items": 1})
    return len({item["alert"] for one in found for item in one["items"] if item["what"] == what})
