"""What messages say, by mail, webhook, Slack and short message; in both languages, whatever others wrote in them."""

from __future__ import annotations

import ast
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.alerts.core.bundles import contents
from services.alerts.core.telling import What, item_of, trial_item
from services.alerts.notify.channels.mail import letter_of
from services.alerts.notify.channels.web import slack_text, sms_body, webhook_body
from services.alerts.notify.message import Links, Message
from services.alerts.notify.render import (
    SMS_LENGTH_MAX,
    TITLES,
    digest_page,
    html,
    listing,
    short,
    subject,
    text,
)
from services.alerts.notify.settings import NotifySettings
from shared.domain.letter import Picture
from shared.texts import parse_po

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
FOLDER = Path(__file__).parents[3] / "services" / "alerts" / "notify"
LINKS = Links(
    "https://console.example", "https://alerts.example/v1/notifications/ntf_1?t=x", "docs/runbooks/{kind}.md",
    "https://console.example/a/ntf_1?t=y",
)  # fmt: skip


def item(n: int = 1, *, what: What = What.FIRING, title: str = "A robot is lost", **fields: Any) -> dict[str, Any]:
    alert = {
        "_id": f"alert_{n}", "rule": "robot_lost", "kind": "robot_lost", "target": f"worker/w{n}", "account": "acme",
        "severity": "error", "text": f"robot w{n} is not connected", "since": NOW - timedelta(minutes=5), "count": 1,
        "changes": 1, "resolved_at": NOW if what is What.RESOLVED else None, **fields,
    }  # fmt: skip
    return item_of(alert, title, what, 0, NOW)


def message(*items: dict[str, Any], language: str = "en", **fields: Any) -> Message:
    made = {
        "id": "ntf_1", "at": NOW, "contents": contents(items), "language": language, "zone": ZoneInfo("UTC"),
        "links": LINKS, **fields,
    }  # fmt: skip
    return Message(**made)


def mail(one: Message) -> EmailMessage:
    found = message_from_bytes(letter_of(one, "regente@acme.example", "ann@acme.example"), policy=default)
    assert isinstance(found, EmailMessage)
    return found


@pytest.mark.parametrize(
    ("items", "language", "said"),
    [
        ([item()], "en", "[error] A robot is lost: worker/w1"),
        ([item()], "pt_BR", "[erro] Um robô foi perdido: worker/w1"),
        ([item(what=What.RESOLVED)], "en", "[over] A robot is lost: worker/w1"),
        ([item(1), item(2), item(3, what=What.RESOLVED)], "en", "[error] 2 alerts: A robot is lost, 1 over"),
        ([item(1), item(2)], "pt_BR", "[erro] 2 alertas: Um robô foi perdido"),
        ([item(1), item(2, rule="x", severity="critical", title="Mine")], "en", "[critical] 2 alerts: 2 kinds"),
        ([item(1, what=What.RESOLVED), item(2, what=What.RESOLVED)], "en", "[over] 2 alerts are over"),
        ([trial_item("cmd_1", "ann", NOW)], "pt_BR", "Mensagem de teste"),
    ],
)
def test_the_subject_says_how_bad_and_what(items: list[dict[str, Any]], language: str, said: str) -> None:
    assert subject(message(*items, language=language)) == said


def test_a_repeat_says_that_it_may_be_one() -> None:
    again = message(item(), maybe_repeat=True)
    assert subject(again).startswith("[maybe a repeat] ")
    for said in (text(again), html(again), slack_text(again)):
        assert "may have been sent before" in said
    assert webhook_body(again)["data"]["maybe_repeat"] is True
    assert "[maybe a repeat]" in short(again)
    assert "repeat" not in text(message(item()))


def test_a_mail_has_text_html_and_the_picture_inside() -> None:
    picture = Picture("picture-1", "image/png", b"\x89PNG-of-the-test")
    found = mail(message(item(), pictures=[picture]))
    assert (found["Message-ID"], found["To"]) == ("<ntf_1@acme.example>", "ann@acme.example")
    plain, marked_up = found.get_body(("plain",)), found.get_body(("html",))
    assert plain is not None
    assert marked_up is not None
    assert "robot w1 is not connected" in plain.get_content()
    assert 'src="cid:picture-1"' in marked_up.get_content()
    (image,) = [part for part in found.walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content()) == ("<picture-1>", picture.data)
    assert not [part for part in found.walk() if part.get_filename()]


def test_a_storm_is_one_mail_that_counts_all_and_has_all_of_it_attached() -> None:
    items = [item(n, count=2) for n in range(1, 4001)] + [item(n, what=What.RESOLVED) for n in range(4001, 4101)]
    found = mail(message(*items))
    plain = found.get_body(("plain",))
    assert plain is not None
    assert "4000 alerts are firing, 100 are over; together they stand for 8100 events." in plain.get_content()
    assert "and 4050 more, in the whole list" in plain.get_content()
    assert LINKS.digest in plain.get_content()
    (attached,) = list(found.iter_attachments())
    payload = attached.get_payload(decode=True)
    assert isinstance(payload, bytes)
    rows = list(csv.DictReader(io.StringIO(payload.decode("utf-8-sig"))))
    assert {row["alert"] for row in rows} == {f"alert_{n}" for n in range(1, 4101)}
    assert sum(int(row["events"]) for row in rows) == 8100


class Tags(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_whatever_others_wrote_is_text_and_nothing_else(words: str, target: str, title: str) -> None:
    nasty = f"</td><script>alert(1)</script>{words}"
    one = message(item(text=nasty, target=f"task/{target}\"'><img src=x onerror=y>", title=title or "x"))
    for page in (html(one), digest_page(one)):
        seen = Tags()
        seen.feed(page)
        assert not seen.tags & {"script", "img", "iframe", "form"}
        assert all(
            address.startswith(("https://console.example/", "https://alerts.example/")) for address in seen.addresses
        )
    assert "\n" not in subject(one)
    assert "\r" not in subject(one)
    mail(one)
    said = slack_text(message(item(text="<!channel> <https://evil.example|x> &", title=title or "x")))
    assert "<!channel>" not in said
    assert "<https://evil" not in said


def test_people_can_say_from_a_message_that_they_look_at_it() -> None:
    firing = message(item(1), item(2, what=What.RESOLVED))
    for said in (text(firing), html(firing), slack_text(firing)):
        assert LINKS.take in said
        assert slack_text(firing) == said or "https://console.example/alerts/alert_1" in said
    assert "https://console.example/tasks/t1" in html(message(item(1, target="task/t1")))
    assert LINKS.take not in str(webhook_body(firing))  # a program is no person
    for one in (message(item(2, what=What.RESOLVED)), message(trial_item("cmd_1", "ann", NOW))):
        assert LINKS.take not in text(one) + html(one) + slack_text(one)
    unstored = message(item(1), links=Links("https://console.example"))
    assert "/alerts/alert_1" not in text(unstored) + html(unstored)


@given(st.text(max_size=500))
def test_a_short_message_is_short_and_fits_its_gateway(words: str) -> None:
    said = short(message(item(text=words)))
    assert len(said) <= SMS_LENGTH_MAX
    kind, body = sms_body('{"to": "{to}", "message": {"text": "{text}"}}', "+5511999990000", said)
    assert kind.startswith("application/json")
    assert json.loads(body) == {"to": "+5511999990000", "message": {"text": said}}
    kind, body = sms_body("dest={to}&body={text}", "+5511999990000", said)
    assert kind == "application/x-www-form-urlencoded"
    assert parse_qs(body.decode(), keep_blank_values=True) == {"dest": ["+5511999990000"], "body": [said]}


def test_a_cell_of_the_list_is_no_formula() -> None:
    (_, row) = csv.reader(io.StringIO(listing(message(item(text="=HYPERLINK(1)", target="@x"))).decode("utf-8-sig")))
    assert "'=HYPERLINK(1)" in row
    assert "'@x" in row


def test_a_webhook_names_what_it_can_and_counts_the_rest() -> None:
    found = webhook_body(message(*(item(n) for n in range(1, 701))))["data"]
    assert (len(found["alerts"]), found["more"], found["counts"]["alerts"]) == (500, 200, 700)
    assert found["url"] == LINKS.digest
    assert found["alerts"][0]["runbook"] == "docs/runbooks/robot_lost.md"
    json.dumps(found)


def test_slack_counts_what_it_does_not_name() -> None:
    said = slack_text(message(*(item(n) for n in range(1, 701))))
    assert len(said) < 4000
    named = said.count("\u2022")
    assert f"and {700 - named} more" in said


def test_moments_are_by_the_recipients_clock() -> None:
    assert "2027-01-31 08:55:00 -03" in text(message(item(), zone=ZoneInfo("America/Sao_Paulo")))


def test_portuguese_has_every_text_of_messages_and_no_other() -> None:
    texts = set(TITLES)
    for name in ("render.py", "channels/web.py"):
        tree = ast.parse((FOLDER / name).read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        texts |= {
            node.args[0].value for node in calls if node.func.id == "_" and isinstance(node.args[0], ast.Constant)
        }
    catalogue = parse_po((FOLDER / "locale" / "pt_BR" / "alerts.po").read_text())
    assert set(catalogue) == texts
    assert all(catalogue.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alerts_mail_to", "Ann <a@b.c>"),
        ("alerts_mail_to", "ann@acme.example"),
        ("alerts_webhook_secret", ""),
        ("alerts_webhook_secret", "abc"),
        ("alerts_beat_url", "ftp://x/y"),
        ("alerts_sms_body", "to={to}"),
        ("alerts_sms_body", '{"to": "{to}", "text": "{text}"'),
    ],
)
def test_settings_that_can_not_be_used_are_refused(name: str, value: str) -> None:
    key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    given = {"amqp_url": "amqp://a:b@c/d", "mongo_url": "mongodb://a/", "master_key": key}
    NotifySettings(**given)  # type: ignore[arg-type]
    given |= {"alerts_webhook_url": "https://ops.example/x"} if name == "alerts_webhook_secret" else {}
    with pytest.raises(ValidationError, match=name):
        NotifySettings(**given, **{name: value})  # type: ignore[arg-type]
