"""The link in a message: its alerts, and saying without a log-in that somebody looks at them, to the end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from services.alerts.handlers import Handlers
from services.alerts.store import AlertStore
from shared.domain.alert_link import PURPOSE, link_url
from shared.mongo import Mongo
from shared.seal import Sealer
from tests.integration.console import browsing
from tests.integration.console.site import ACME, MASTER_KEY, Site, until
from tests.integration.console.test_decision_phone import keep_picture, phone
from tests.integration.console.test_recipients import put_alert

expect.set_options(timeout=browsing.DEADLINE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser."""
    with browsing.browser() as started:
        yield started


def put_message(console: Site, *alerts: str, **fields: Any) -> str:
    """A message that told of these alerts, as alerts keeps it; its link."""
    number = console.db["notifications"].count_documents({}) + 1
    id, at = f"ntf_{'0' * 20}_{number:08d}", datetime.now(UTC)
    items = [{"id": f"{one}/1/0", "alert": one, "what": "firing"} for one in alerts]
    document = {
        "_id": id, "lane": f"{ACME}/ops#link", "n": number, "recipient": f"{ACME}/ops", "account": ACME, "kind": "mail",
        "state": "sent", "items": items, "opened_at": at, "closed_at": at,
    }  # fmt: skip
    console.db["notifications"].insert_one({**document, **fields})
    return link_url(console.url, id, Sealer(MASTER_KEY).derive(PURPOSE, id))


def commands(console: Site, link: str) -> list[dict[str, Any]]:
    """What was asked for by a link."""
    target = link.partition("?")[0].rpartition("/")[2]
    return list(console.db["commands"].find({"target": target}))


def serve(console: Site, command: dict[str, Any]) -> None:
    """As alerts does, which does not run here."""

    async def work() -> None:
        mongo = Mongo(console.ground.mongo_url, console.db.name)
        await Handlers(AlertStore(mongo, keep_days=1), changed=lambda: None).run_command(command)
        await mongo.close()

    with ThreadPoolExecutor(1) as elsewhere:  # a browser's test has a loop of its own here
        elsewhere.submit(lambda: asyncio.run(work())).result()


def form(link: str, **more: str) -> dict[str, str]:
    """What the page's form sends."""
    return {"t": link.partition("?t=")[2], "lang": "en", **more}


def test_whoever_has_the_link_takes_all_that_fires_and_is_free(console: Site) -> None:
    first, second = put_alert(console, text="first is lost"), put_alert(console, text="second is lost")
    taken = put_alert(console, acked={"by": "vera", "at": datetime.now(UTC), "note": ""})
    over = put_alert(console, state="resolved", text="third is over")
    link = put_message(console, first, second, taken, over)
    address = link.partition("?")[0]
    shown = httpx.get(link, timeout=20)
    assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
    assert ("nobody looks at: 2" in shown.text, "first is lost" in shown.text, "third is over" in shown.text) == (
        True,
        True,
        False,
    )
    assert commands(console, link) == []  # scanners of mails follow links
    foreign = httpx.post(address, data=form(link), headers={"Sec-Fetch-Site": "cross-site"}, timeout=20)
    assert (foreign.status_code, commands(console, link)) == (403, [])
    answer = httpx.post(address, data=form(link, note="on my way"), timeout=20)
    assert (answer.status_code, answer.headers["location"].startswith("/a/ntf_")) == (303, True)
    httpx.post(address, data=form(link), timeout=20)  # twice is once
    assert "is being noted" in httpx.get(link, timeout=20).text
    (command,) = commands(console, link)
    assert (command["kind"], command["to"], command["by"]) == ("alert.ack", "alerts", f"{ACME}/ops (link)")
    serve(console, command)
    serve(console, command)  # alerts was killed before it could say that it is done
    acked = {one["_id"]: (one["acked"] or {}).get("by") for one in console.db["alerts"].find()}
    by = f"{ACME}/ops (link)"
    assert [acked[one] for one in (first, second, taken, over)] == [by, by, "vera", None]
    assert "Somebody looks at all of it" in httpx.get(link, timeout=20).text
    (audited,) = console.db["audit"].find({"target": command["target"]})
    assert (audited["by"], audited["details"]["address"]) == (by, "127.0.0.1")


def test_no_other_token_opens_it_and_it_stands_in_no_log(console: Site) -> None:
    link = put_message(console, put_alert(console))
    other = put_message(console, put_alert(console))
    address, token = link.split("?t=")
    decision = Sealer(MASTER_KEY).derive("notification-link", address.rpartition("/")[2])
    guesser = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.8"), timeout=20)
    answers = [
        guesser.get(f"{where}?t={one}")
        for where, one in (
            (address, ""), (address, token[:-1]), (address, other.split("?t=")[1]), (address, decision),
            (f"{console.url}/a/ntf_{'f' * 20}_00000001", token), (f"{console.url}/a/x", token),
        )
    ]  # fmt: skip
    assert {one.status_code for one in answers} == {404}
    assert len({one.text for one in answers}) == 1
    refused = guesser.post(address, data={"t": "wrong"})
    assert (refused.status_code, commands(console, link)) == (404, [])
    unfinished = put_message(console, put_alert(console), closed_at=None, state="gathering")
    assert httpx.get(unfinished, timeout=20).status_code == 404
    guesser.close()
    logs = "".join(path.read_text() for path in console.home.glob("*.log"))
    assert "/a/ntf_" in logs
    assert token not in logs


def test_a_phone_shows_it_without_scrolling_sideways(console: Site, browser: Browser) -> None:
    link = put_message(console, put_alert(console, text="robot with-a-very-long-name" * 6, severity="critical"))
    with phone(browser, "pt-BR") as page:
        page.goto(link)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        keep_picture(page, "alert-link")
        page.locator("textarea").fill("on my way")
        page.get_by_role("button", name="Eu cuido disso").click()
        until(lambda: commands(console, link), "it was asked for")
        serve(console, commands(console, link)[0])
        expect(page.get_by_role("status")).to_have_text(re.compile("Alguém está cuidando"))
