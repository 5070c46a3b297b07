"""The people's side to the end, with the real console, alerts and mail server: somebody is named, tried, told, looks at
it by the link of the mail, silences, and notices that alerts was killed."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.console.store.watch import LEADER
from shared.domain.alert_rules import DEFAULTS, RuleKind, rule_document
from tests.integration.alerts.post import ANN, post_office
from tests.integration.cli.test_watch import watching
from tests.integration.collector.running import launch, until, wait_ready
from tests.integration.console.site import Site

DEADLINE_S = 60.0
BEATS = 15
"""Takes longer than the site's console waits before it misses whoever leads."""
RECIPIENT = f"""
channels: [{{kind: mail, address: {ANN}}}]
group_wait_s: 0
group_interval_s: 0
"""


async def waited(what: Any, why: str) -> Any:
    """Until something is so; mails come in meanwhile."""
    return await asyncio.to_thread(until, what, why, DEADLINE_S)


def lose(console: Site, robot: str) -> None:
    """A robot that is authorised and not connected."""
    console.db["workers"].insert_one(
        {"_id": robot, "addresses": [robot], "name": robot, "authorisation": "authorised", "account": None, "run": None,
         "quarantine": None, "connected": False, "enrolled_at": datetime.now(UTC)}
    )  # fmt: skip


@pytest.mark.stack
async def test_somebody_is_told_takes_it_silences_and_misses_alerts(
    console: Site, regente: Any, tmp_path: Path
) -> None:
    def cli(*words: str, text: str | None = None) -> Any:
        return asyncio.to_thread(lambda: regente(*words, text=text).stdout)

    def alert(robot: str) -> dict[str, Any]:
        return console.db["alerts"].find_one({"target": f"worker/{robot}", "open": True}) or {}

    def leader() -> dict[str, Any]:
        return console.db["leases"].find_one({"_id": LEADER}) or {}

    console.db["leases"].delete_many({"_id": LEADER})
    for rule in DEFAULTS:  # before alerts starts: what it finds wrong with the servers then holds others back a minute
        alone = rule.model_copy(update={"enabled": rule.kind is RuleKind.ROBOT_LOST, "for_s": 0.0})
        document = rule_document(alone, at=datetime.now(UTC), by="test")
        console.db["rules"].replace_one({"_id": rule.id}, document, upsert=True)
    async with post_office() as post:
        env = {
            "REGENTE_SMTP_URL": f"smtp://127.0.0.1:{post.port}?starttls=no",
            "REGENTE_MAIL_FROM": "regente@acme.example", "REGENTE_ALERTS_SERVICES": "", "REGENTE_SWEEP_S": "0.1",
            "REGENTE_ALERTS_EVALUATE_S": "0.2", "REGENTE_ALERTS_NOTIFY_S": "0.2", "REGENTE_CONSOLE_URL": console.url,
        }  # fmt: skip
        service = launch("alerts", console.ground, tmp_path, "alerts-9", **env)
        try:
            await asyncio.to_thread(wait_ready, service)
            await cli("recipient", "put", "*/ann", "-", text=RECIPIENT)
            assert (await cli("recipient", "test", "*/ann")).startswith(("done", "asked for"))
            await waited(lambda: "Test message" in post.subjects(), "the test message")

            lose(console, "first")
            await waited(lambda: "alert" in post.text() and "first" in post.text(), "the mail about the robot")
            (link,) = re.findall(rf"{console.url}/a/\S+", post.text())
            seen = await asyncio.to_thread(httpx.get, link, timeout=30)
            assert "first" in seen.text
            form = {"t": link.partition("?t=")[2], "note": "on my way"}
            await asyncio.to_thread(lambda: httpx.post(link.partition("?")[0], data=form, timeout=30))
            await waited(lambda: (alert("first").get("acked") or {}).get("by") == "*/ann (link)", "it is noted")
            shown = await cli("alert", "show", alert("first")["_id"])
            assert "*/ann (link) looks at it: on my way" in shown
            assert "*/ann by mail: firing: sent" in shown

            await cli("silence", "make", "robot=~sec*", "--reason", "moved today")
            lose(console, "second")
            await waited(lambda: (alert("second").get("notify") or {}).get("held") == "silence", "it is held back")
            assert not [mail for _, mail in post.got if "second" in str(mail)]

            out = tmp_path / "watched"
            with out.open("wb") as file, watching(console.url, console.token("admin"), "--json", out=file):
                await waited(lambda: b'"new"' in out.read_bytes(), "it watches")
                beats = leader()["counter"]
                await waited(lambda: leader()["counter"] >= beats + BEATS, "somebody leads all the while")
                assert b"nobody is told" not in out.read_bytes()
                service.kill()
                await waited(lambda: b"nobody is told of what is wrong" in out.read_bytes(), "alerts is missed")
                await waited(lambda: b"\a" in out.read_bytes(), "the bell")
                console.db["leases"].update_one({"_id": LEADER}, {"$inc": {"counter": 1}})  # another leads
                await waited(lambda: b"alerts is at work again" in out.read_bytes(), "alerts is back")
        finally:
            service.kill()
            console.db["workers"].delete_many({"_id": {"$in": ["first", "second"]}})
            console.db["recipients"].delete_many({"_id": "*/ann"})
    lines = [line.lstrip(b"\a") for line in out.read_bytes().splitlines()]
    changes = [json.loads(line)["what"] for line in lines if line.startswith(b"{")]
    assert [changes.count(what) for what in ("unwatched", "watched", "lost")] == [1, 1, 0], changes
