"""What people get: real mails from a real server, signed webhooks, Slack and short messages; storms, silences, what
follows from something else, acknowledgements, tests, lists, and the dead man's switch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gridfs.asynchronous import AsyncGridFSBucket

from services.alerts.api import app_of
from services.alerts.config import AlertsSettings
from services.alerts.core.evaluate import Begin, begin_document
from services.alerts.core.findings import Finding
from services.alerts.main import AlertsService
from services.alerts.notify.beat import Able
from services.alerts.notify.digest import PATH
from services.alerts.notify.store import NotifyStore
from shared.domain.alert_rules import DEFAULTS, RuleKind
from shared.domain.alert_state import AlertState
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.silences import parse_silence, silence_document
from shared.obs.clock import now
from shared.runtime.commands import issue
from tests.integration.alerts.conftest import Alerts, until
from tests.integration.alerts.post import ANN, BOB, SECRET, Post, Telling, post_office
from tests.integration.delivery.conftest import Answer, PartnerSide
from tests.integration.executor.server.certificates import authority, server_context
from tests.integration.scheduler.conftest import ago

EVENTS = 10_000
TARGETS = EVENTS if os.environ.get("REGENTE_SOAK") else 100
"""Of a storm: each is an alert of its own."""


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with post_office() as made:
        yield made


@pytest.fixture
def side() -> Iterator[PartnerSide]:
    made = PartnerSide()
    yield made
    made.close()


@pytest.fixture
async def telling(alerts: Alerts, post: Post) -> AsyncIterator[Telling]:
    made = Telling.of(alerts.world, smtp_url=f"smtp://127.0.0.1:{post.port}?starttls=no")
    await alerts.rule(RuleKind.ROBOT_LOST)
    yield made
    made.notify.channels.close()


async def lost(telling: Telling, alerts: Alerts, n: int = 1, **fields: Any) -> str:
    """A robot that is lost, noticed."""
    id = await telling.world.robot(n, connected=False, **fields)
    await alerts.run()
    return id


# mails


async def test_wrong_then_still_then_over(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await lost(telling, alerts)
    await telling.step()
    await telling.step()
    assert post.subjects() == ["[error] A robot is lost: worker/00155d010001"]
    await telling.look_again()
    await telling.step()
    assert "still so" in post.text()
    await telling.world.mongo["workers"].update_many({}, {"$set": {"connected": True}})
    await alerts.run()
    await telling.step()
    assert post.subjects()[2:] == ["[over] A robot is lost: worker/00155d010001"]
    assert "over at" in post.text()
    ids = [mail["Message-ID"] for _, mail in post.got]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("how", ["starttls", "tls"])
async def test_by_tls_with_an_authority_of_ours(alerts: Alerts, how: str, tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    file.write_text(authority().pem)
    await alerts.rule(RuleKind.ROBOT_LOST)
    async with post_office(**{how: server_context("localhost")}) as post:
        url = f"smtps://localhost:{post.port}" if how == "tls" else f"smtp://localhost:{post.port}"
        telling = Telling.of(alerts.world, smtp_url=url, ca_file=str(file))
        await telling.recipient()
        await lost(telling, alerts)
        await telling.step()
        assert post.subjects() == ["[error] A robot is lost: worker/00155d010001"]
        assert post.secured == [True]
        telling.notify.channels.close()


async def test_a_server_whose_certificate_nobody_knows_gets_nothing(alerts: Alerts) -> None:
    await alerts.rule(RuleKind.ROBOT_LOST)
    async with post_office(starttls=server_context("localhost")) as post:
        telling = Telling.of(alerts.world, smtp_url=f"smtp://localhost:{post.port}")
        await telling.recipient()
        await lost(telling, alerts)
        await telling.step()
        assert post.got == []
        assert "certificate" in (await telling.all())[0]["reason"]
        telling.notify.channels.close()


async def test_in_portuguese_with_the_screen_when_it_failed(alerts: Alerts, telling: Telling, post: Post) -> None:
    mongo, picture = telling.world.mongo, b"\x89PNG of the test"
    await alerts.rule(RuleKind.TASK_IN_DOUBT)
    await telling.recipient("acme/ops", language="pt_BR")
    file = await AsyncGridFSBucket(mongo.db, "blobs").upload_from_stream("x", picture)
    await mongo["evidence"].insert_one(
        {"_id": "sha", "file": file, "size_bytes": len(picture), "media_type": "image/png"}
    )
    await mongo["evidence_links"].insert_one({"_id": "ev_1", "sha256": "sha", "media_type": "image/png"})
    await telling.world.publish()
    (task,) = await telling.world.tasks(1)
    hold = {"reason": "in_doubt", "text": "the portal said nothing", "at": now(), "run": None, "seq": None}
    error = {"failed": {"picture": "ev_1"}}
    await mongo["tasks"].update_one({"_id": task}, {"$set": {"state": "held", "hold": hold, "error": error}})
    await alerts.run()
    await telling.step()
    assert post.subjects() == [f"[erro] Uma tarefa está em dúvida: task/{task}"]
    assert "Esta mensagem foi enviada automaticamente." in post.text()
    _, mail = post.got[0]
    (image,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert image.get_content() == picture
    html = mail.get_body(("html",))
    assert html is not None
    assert f"cid:{image['Content-ID'].strip('<>')}" in html.get_content()
    assert f"/tasks/{task}" in html.get_content()


# storms


async def test_a_storm_of_events_gives_few_messages_and_hides_nothing(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    """10,000 events of faults, in waves."""
    mongo, waves = telling.world.mongo, 5
    await alerts.rule(RuleKind.UNAUTHORISED_ATTEMPT)
    await _two_people(telling)
    for wave in range(waves):
        await mongo["events"].insert_many(
            [_attempt(n) for n in range(wave * EVENTS // waves, (wave + 1) * EVENTS // waves)]
        )
        while await mongo["events"].count_documents({"pending.to": "alerts"}):
            await alerts.handlers.sweep_events()
        await telling.step()
    await _until_all_is_told(telling)
    await _check_storm(telling, post, alerts=TARGETS, events=EVENTS)


async def test_a_storm_of_alerts_gives_few_messages_and_hides_nothing(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    """10,000 robots, each an alert of its own, in waves."""
    mongo, waves, at = telling.world.mongo, 5, now()
    await _two_people(telling)
    rule = next(rule for rule in DEFAULTS if rule.kind is RuleKind.ROBOT_LOST)
    for wave in range(waves):
        robots = [f"w{n}" for n in range(wave * EVENTS // waves, (wave + 1) * EVENTS // waves)]
        found = [
            Finding(rule, f"worker/{id}", f"robot {id} is not connected", None, at, {"worker": id}) for id in robots
        ]
        await mongo["alerts"].insert_many(
            [begin_document(Begin(one, AlertState.FIRING), id=f"alert_{one.target}", now=at, op="op") for one in found]
        )
        await telling.step()
    await _until_all_is_told(telling)
    await _check_storm(telling, post, alerts=EVENTS, events=EVENTS)
    assert await mongo["alerts"].count_documents({"notify.lanes": {"$size": 2}}) == EVENTS


async def _two_people(telling: Telling) -> None:
    eager = {"rate": {"messages": 3, "per_s": 3600}}
    await telling.recipient(**eager)
    await telling.recipient("*/night", {"kind": "mail", "address": BOB}, **eager)


def _attempt(n: int) -> dict[str, Any]:
    robot = f"w{n % TARGETS}"
    return event_document(
        EventKind.UNAUTHORISED_ATTEMPT, id=f"storm/{n}", at=ago(seconds=60), service="scheduler",
        severity=Severity.ERROR, target=robot, text="attempt", facts={"worker": robot},
    )  # fmt: skip


async def _until_all_is_told(telling: Telling) -> None:
    """As if time went by: what waits for another message to go with, and what the cap holds back, goes out."""
    notifications = telling.world.mongo["notifications"]
    await notifications.update_many({}, {"$set": {"flush_at": now()}})
    await telling.step()
    await notifications.update_many({"closed_at": {"$ne": None}}, {"$set": {"closed_at": ago(hours=2)}})
    await telling.step()
    assert await notifications.count_documents({"live": True}) == 0


async def _check_storm(telling: Telling, post: Post, *, alerts: int, events: int) -> None:
    """Fewer than ten messages for all who are told; every event counted in what each got, every alert in the lists."""
    assert len(post.got) < 10, post.subjects()
    for to in (ANN, BOB):
        newest: dict[str, int] = {}
        for one in await telling.all(address=to):
            for item in one["items"]:
                newest[item["target"]] = max(newest.get(item["target"], 0), item["count"])
        assert (len(newest), sum(newest.values())) == (alerts, events)
        listed = set[str]()
        for mail in (mail for address, mail in post.got if address == to):
            (attached,) = list(mail.iter_attachments())
            payload, body = attached.get_payload(decode=True), mail.get_body(("plain",))
            assert isinstance(payload, bytes)
            assert body is not None
            rows = payload.decode("utf-8-sig").splitlines()[1:]
            counted = re.search(r"(\d+) alerts are firing", body.get_content())
            assert counted is not None
            assert int(counted[1]) == len(rows)
            listed |= {row.partition(",")[0] for row in rows}
        assert len(listed) == alerts


async def test_the_cap_holds_back_and_tells_later(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient(rate={"messages": 2, "per_s": 3600})
    for n in range(1, 7):
        await lost(telling, alerts, n)
        await telling.step()
    assert len(post.got) == 2
    await telling.world.mongo["notifications"].update_many(
        {"closed_at": {"$ne": None}}, {"$set": {"closed_at": ago(hours=2)}}
    )
    await telling.step()
    assert post.subjects()[2:] == ["[error] 4 alerts: A robot is lost"]


async def test_the_first_waits_for_others_and_what_follows_for_its_interval(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    await telling.recipient(group_wait_s=60, group_interval_s=3600)
    await lost(telling, alerts, 1)
    await lost(telling, alerts, 2)
    await telling.step()
    assert post.got == []
    (gathered,) = await telling.all()
    assert gathered["count"] == 2
    assert timedelta(seconds=30) < gathered["flush_at"] - now() <= timedelta(seconds=60)
    await telling.world.mongo["notifications"].update_many({}, {"$set": {"flush_at": now()}})
    await telling.step()
    assert post.subjects() == ["[error] 2 alerts: A robot is lost"]
    await lost(telling, alerts, 3)
    await telling.step()
    (waiting,) = await telling.all(state="gathering")
    assert waiting["flush_at"] - now() > timedelta(seconds=3000)


# what is not told now


async def test_a_silence_holds_back_and_what_is_still_wrong_then_is_told(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    await telling.recipient()
    silence = parse_silence(
        {"_id": "s1", "matchers": [{"field": "robot", "op": "glob", "value": "00155d01000*"}], "by": "ann",
         "reason": "new robots", "starts_at": ago(seconds=60), "ends_at": now() + timedelta(hours=1)}
    )  # fmt: skip
    await telling.world.mongo["silences"].insert_one(silence_document(silence))
    await lost(telling, alerts, 1)
    await lost(telling, alerts, 2)
    await telling.step()
    assert post.got == []
    assert {alert["notify"]["held"] for alert in await alerts.all()} == {"silence"}
    await telling.world.mongo["workers"].update_one({"_id": "00155d010002"}, {"$set": {"connected": True}})
    await alerts.run()
    await telling.step()
    await telling.world.mongo["silences"].update_one({}, {"$set": {"ends_at": now()}})
    await telling.world.mongo["alerts"].update_many({"notify.to": "notify"}, {"$set": {"notify.due_at": now()}})
    await telling.step()
    assert post.subjects() == ["[error] A robot is lost: worker/00155d010001"]


async def test_a_dead_broker_is_one_alarm_and_not_a_thousand_robots(
    alerts: Alerts, telling: Telling, post: Post
) -> None:
    mongo = telling.world.mongo
    await telling.recipient()
    for n in range(1, 21):
        await telling.world.robot(n, connected=False)
    await alerts.run()
    broker = {
        **(await alerts.all())[0], "_id": "alert_b", "key": "broker_unhealthy#broker", "rule": "broker_unhealthy",
        "kind": "broker_unhealthy", "target": "broker", "severity": "critical", "text": "the broker does not answer",
    }  # fmt: skip
    await mongo["alerts"].insert_one(broker)
    await telling.step()
    assert post.subjects() == ["[critical] The broker is not well: broker"]
    await mongo["workers"].update_many({"_id": {"$ne": "00155d010001"}}, {"$set": {"connected": True}})
    await alerts.run()
    over = {
        "state": "resolved",
        "resolved_at": now(),
        "changes": 2,
        "notify": {"to": "notify", "since": now(), "due_at": now()},
    }
    await mongo["alerts"].update_one({"_id": "alert_b"}, {"$set": over, "$unset": {"open": ""}})
    await telling.step()
    assert post.subjects()[1:] == ["[over] The broker is not well: broker"], "robots need a moment to come back"
    await mongo["alerts"].update_one({"_id": "alert_b"}, {"$set": {"resolved_at": ago(seconds=120)}})
    await mongo["alerts"].update_many({"notify.to": "notify"}, {"$set": {"notify.due_at": now()}})
    await telling.step()
    assert post.subjects()[2:] == ["[error] A robot is lost: worker/00155d010001"], "the one that did not come back"


async def test_acknowledged_nobody_is_reminded(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    await lost(telling, alerts)
    await telling.step()
    (alert,) = await alerts.all()
    await alerts.store.acknowledge(alert["_id"], {"by": "bob", "at": now(), "note": ""}, now())
    await telling.look_again()
    await telling.step()
    assert len(post.got) == 1
    await telling.world.mongo["workers"].update_many({}, {"$set": {"connected": True}})
    await alerts.run()
    await telling.step()
    assert post.subjects()[1:] == ["[over] A robot is lost: worker/00155d010001"]
    assert "bob takes care of it" in post.text()


async def test_who_is_told_of_what(alerts: Alerts, telling: Telling, post: Post) -> None:
    """An account's own people, people whom the rule names, what a channel asks for, and the settings' address last."""
    mongo = telling.world.mongo
    own = Telling.of(
        telling.world, smtp_url=telling.settings.smtp_url.get_secret_value(), alerts_mail_to="last@acme.example"
    )
    await lost(own, alerts, 1)
    await own.step()
    await mongo["notifications"].update_many({}, {"$set": {"flush_at": now()}})
    await own.step()
    assert [to for to, _ in post.got] == ["last@acme.example"]
    await own.recipient("*/ops")
    await own.recipient("acme/theirs", {"kind": "mail", "address": BOB})
    await own.recipient("*/boss", {"kind": "mail", "address": "boss@acme.example", "min_severity": "critical"})
    await lost(own, alerts, 2, account="acme")
    await lost(own, alerts, 3)
    await own.step()
    assert sorted((to, mail["subject"][-1]) for to, mail in post.got[1:]) == [(ANN, "3"), (BOB, "2")]
    await mongo["rules"].update_one({"_id": "robot_lost"}, {"$set": {"recipients": ["boss"], "severity": "critical"}})
    await lost(own, alerts, 4)
    await own.step()
    assert post.got[-1][0] == "boss@acme.example"
    own.notify.channels.close()


# other channels


async def test_a_webhook_is_signed_and_keeps_its_id(alerts: Alerts, telling: Telling, side: PartnerSide) -> None:
    await telling.recipient("*/hook", {"kind": "webhook", "address": f"{side.url}/hook", "secret": SECRET})
    side.will("/hook", Answer(503), Answer(200))
    await lost(telling, alerts)
    await telling.step()
    await telling.world.mongo["notifications"].update_many({}, {"$set": {"due_at": now()}})
    await telling.step()
    first, second = side.got("/hook")
    body = second.verify(SECRET)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (body["type"], body["data"]["maybe_repeat"]) == ("alerts.notification", False), "503 is no doubt"
    assert [one["target"] for one in body["data"]["alerts"]] == ["worker/00155d010001"]
    (found,) = await telling.all()
    assert [one["status"] for one in found["attempts"]] == [503, 200]


async def test_an_answer_that_breaks_off_or_never_comes_is_doubt(
    alerts: Alerts, telling: Telling, side: PartnerSide
) -> None:
    quick = Telling.of(telling.world, alerts_send_timeout_s=5)
    await quick.recipient("*/hook", {"kind": "webhook", "address": f"{side.url}/hook", "secret": SECRET})
    side.will("/hook", Answer(cut=True), Answer(200))
    await lost(quick, alerts)
    await quick.step()
    await telling.world.mongo["notifications"].update_many({}, {"$set": {"due_at": now()}})
    await quick.step()
    bodies = [one.verify(SECRET) for one in side.got("/hook")]
    assert [one["data"]["maybe_repeat"] for one in bodies] == [False, True]
    quick.notify.channels.close()


async def test_slack_and_short_messages(alerts: Alerts, telling: Telling, side: PartnerSide) -> None:
    made = Telling.of(
        telling.world, alerts_sms_url=f"{side.url}/sms", alerts_sms_authorization="Bearer of-the-test",
        alerts_sms_body='{"dest": "{to}", "body": "{text}"}',
    )  # fmt: skip
    await made.recipient("*/chat", {"kind": "slack", "address": f"{side.url}/services/token"})
    await made.recipient("*/phone", {"kind": "sms", "address": "+5511999990000"})
    await lost(made, alerts)
    await made.step()
    (said,) = side.got("/services/token")
    assert "*[error] A robot is lost: worker/00155d010001*" in json.loads(said.body)["text"]
    (short,) = side.got("/sms")
    assert short.headers["authorization"] == "Bearer of-the-test"
    assert json.loads(short.body)["dest"] == "+5511999990000"
    stored = await telling.world.mongo["recipients"].find_one({"_id": "*/chat"})
    assert stored is not None
    assert "token" not in str({**stored["channels"][0], "secret": None})
    made.notify.channels.close()


async def test_a_private_address_that_the_installation_does_not_allow_gets_nothing(
    alerts: Alerts, telling: Telling, side: PartnerSide
) -> None:
    strict = Telling.of(telling.world, alerts_private_allowed="")
    await strict.recipient("*/hook", {"kind": "webhook", "address": f"{side.url}/hook"})
    await lost(strict, alerts)
    await strict.step()
    assert side.got("/hook") == []
    assert (await strict.all())[0]["reason"].startswith("not sent")
    strict.notify.channels.close()


async def test_a_test_message_is_asked_for_and_comes_once(alerts: Alerts, telling: Telling, post: Post) -> None:
    world = telling.world
    await telling.recipient()

    async def ask(recipient: str) -> dict[str, Any]:
        args = {"recipient": recipient}
        command = await issue(
            world.mongo, world.broker, kind="alert.test", to="alerts", target=recipient, args=args, by="ann"
        )
        return await world.mongo["commands"].find_one({"_id": command}) or {}

    command = await ask("*/ops")
    assert await telling.notify.test(command) is None
    assert await telling.notify.test(command) is None
    await telling.step()
    assert post.subjects() == ["Test message"]
    assert "asked for by ann" in post.text()
    assert await telling.notify.test(await ask("*/nobody")) == "there is no recipient */nobody that is enabled"


# lists, beats, no database


async def test_the_list_behind_a_message_needs_its_token(alerts: Alerts, telling: Telling, post: Post) -> None:
    await telling.recipient()
    for n in range(1, 4):
        await telling.world.robot(n, connected=False)
    await alerts.run()
    await telling.step()
    found = re.search(r"/v1/notifications/\S+", post.text())
    assert found is not None
    service = AlertsService(AlertsSettings(**{**telling.world.settings, "instance": "alerts-9"}))
    transport = httpx.ASGITransport(app_of(service, service.health, telling.notify))
    async with httpx.AsyncClient(transport=transport, base_url="http://alerts.test") as http:
        page = await http.get(found[0])
        assert page.status_code == 200
        assert page.text.count("worker/00155d01000") == 3
        sheet = await http.get(f"{found[0]}&format=csv")
        assert len(sheet.text.splitlines()) == 4
        assert (await http.get(f"{found[0]}x")).status_code == 404
        assert (await http.get(f"{PATH}/ntf_none?t=x")).status_code == 404
    await service.mongo.close()
    service.notify.channels.close()


async def test_beats_while_people_would_be_told_and_says_why_not(
    alerts: Alerts, telling: Telling, side: PartnerSide
) -> None:
    made = Telling.of(telling.world, alerts_beat_url=f"{side.url}/beat", alerts_beat_fail_url=f"{side.url}/fail")
    await made.notify.directory.refresh(now())
    assert (await made.notify.beat.once()).problems == ("there is nobody to tell",)
    assert side.got("/beat") == []
    await made.recipient()
    await made.notify.directory.refresh(now())
    assert await made.notify.beat.once() == Able(True)
    (beat,) = side.got("/beat")
    assert json.loads(beat.body)["ok"] is True
    stuck = {
        "lane": "x", "n": 1, "state": "retrying", "live": True, "opened_at": ago(hours=1), "closed_at": ago(hours=1),
        "due_at": now() + timedelta(hours=1),
    }  # fmt: skip
    await made.world.mongo["notifications"].insert_one(stuck)
    assert (await made.notify.beat.once()).problems == ("messages wait, and none arrives",)
    assert len(side.got("/beat")) == 1
    said = [json.loads(one.body)["problems"] for one in side.got("/fail")]
    assert said == [["there is nobody to tell"], ["messages wait, and none arrives"]]
    made.notify.channels.close()


async def test_without_any_database_the_settings_people_are_told_and_the_beat_stops(
    alerts: Alerts, post: Post, side: PartnerSide
) -> None:
    """Nothing was ever read: the database was never there."""
    away = {
        "mongo_url": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300", "instance": "alerts-1",
        "smtp_url": f"smtp://127.0.0.1:{post.port}?starttls=no", "mail_from": "regente@acme.example",
        "alerts_mail_to": "last@acme.example", "alerts_slack_url": f"{side.url}/chat", "alerts_health_s": 0.1,
        "alerts_services": "collector", "collector_url": "http://127.0.0.1:9", "alerts_language": "pt_BR",
        "alerts_beat_url": f"{side.url}/beat", "alerts_beat_fail_url": f"{side.url}/fail",
    }  # fmt: skip
    service = AlertsService(AlertsSettings(**{**alerts.world.settings, **away}))
    service.health.rules_known = {
        id: rule.model_copy(update={"for_s": 0.0}) for id, rule in service.health.rules_known.items()
    }
    service.health.start()
    service.notify.beat.start()
    try:

        async def told() -> bool:
            return bool(post.got) and bool(side.got("/chat")) and bool(side.got("/fail"))

        await until(told, 60)

        (held,) = [
            one for one in service.health.unstored.held.values()
            if one.finding.rule.kind is RuleKind.DATABASE_UNHEALTHY
        ]  # fmt: skip

        async def noted() -> bool:
            return await service.tell_unstored(held)

        await until(noted, 60)
    finally:
        await service.health.stop()
        await service.notify.end()
        await service.mongo.close()
    assert {to for to, _ in post.got} == {"last@acme.example"}
    texts = [post.text(n) for n in range(len(post.got))]
    assert "O banco de dados não está bem" in texts[0]
    assert not [text for text in texts if "Um serviço" in text], "it follows from the database"
    assert side.got("/beat") == []
    assert "database does not answer" in str(json.loads(side.got("/fail")[0].body)["problems"])


async def test_a_source_that_never_fired_holds_nothing_back_once_it_is_over(alerts: Alerts) -> None:
    """At its start a service may see the broker away for a moment."""
    at = now()
    fields = {"kind": "broker_unhealthy", "target": "broker", "state": "resolved", "resolved_at": at}
    await alerts.store.mongo["alerts"].insert_many(
        [{"_id": "alert_passed", "fired_at": None, **fields}, {"_id": "alert_was", "fired_at": at, **fields}]
    )
    assert [source.id for source in await NotifyStore(alerts.store.mongo).sources(at)] == ["alert_was"]
