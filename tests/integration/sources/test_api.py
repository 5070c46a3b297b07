"""Sources as people meet them: the console's API and the command line, with a real collector behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from tests.integration.collector.conftest import SCHEMA, add_workflow
from tests.integration.collector.running import running, until
from tests.integration.console.site import ACME, Site, site
from tests.integration.sources.conftest import QUICK
from tests.integration.sources.partner import Partner

Regente = Callable[..., str]


@pytest.fixture(scope="session")
def console(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console and a collector."""
    folder = tmp_path_factory.mktemp("api")
    with site(servers, folder) as made:
        add_workflow(made.ground, ACME, "tax", SCHEMA)
        with running("collector", made.ground, folder, "collector-api", **QUICK):
            yield made


@pytest.fixture
def admin(console: Site) -> Iterator[httpx.Client]:
    """The API as the account's administrator; its sources go at the end."""
    with console.client("ada") as client:
        yield client
        for one in client.get("sources").json()["items"]:
            assert client.delete(f"sources/{one['id']}").status_code == 204


@pytest.fixture
def regente(console: Site, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Regente:
    """Run a command line; what it said."""
    monkeypatch.setenv("REGENTE_HOME", str(console.home))
    monkeypatch.setenv("REGENTE_URL", console.url)
    monkeypatch.setenv("REGENTE_TOKEN", console.token("ada"))
    monkeypatch.setenv("REGENTE_ACCOUNT", ACME)
    monkeypatch.setenv("COLUMNS", "240")

    def run(*arguments: str, code: int = 0, text: str | None = None) -> str:
        result = CliRunner().invoke(app, ["source", *arguments], input=text)
        assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result.output

    return run


def orders(partner: Partner, **changes: Any) -> dict[str, Any]:
    """A source that polls."""
    settings = {
        "kind": "poll",
        "schedule": {"every_s": 3600},
        "request": {"url": f"{partner.url}/orders", "params": {"after": "{cursor}"}},
        "items": "orders",
        "item": {"reference": "join('-', ['R', to_string(id)])", "input": {"registration": "registration"}},
        "cursor": {"expression": "last"},
        **changes,
    }
    return {"title": "Orders", "workflow": "tax", "settings": settings}


def looked(admin: httpx.Client, name: str, count: int = 1) -> dict[str, Any]:
    """The source after so many looks."""

    def ready() -> dict[str, Any] | None:
        found: dict[str, Any] = admin.get(f"sources/acme/{name}").json()
        return found if found["counters"]["looks"] >= count and not found["looking"] else None

    return until(ready, f"{count} looks at {name}")  # type: ignore[return-value]


def test_a_source_from_its_settings_to_its_log(admin: httpx.Client, console: Site, partner: Partner) -> None:
    partner.add(3)
    partner.orders.append({"id": 4, "registration": "x", "at": "2026-01-01T00:00:000004"})
    stored = admin.put("sources/acme/orders", json=orders(partner))
    assert stored.status_code == 200, stored.text
    found = looked(admin, "orders")
    assert found["counters"] == {"looks": 1, "failed": 0, "came": 4, "taken": 3, "duplicates": 0, "refused": 1}
    assert found["cursor"] == "2026-01-01T00:00:000004"
    assert found["next_at"] > found["last_success_at"]
    refused = {"at": datetime.now(UTC), "status": 422, "values": {"reference": "R-1"}}
    console.db["sources"].update_one({"_id": "acme/orders"}, {"$set": {"unacknowledged": [refused]}})
    listed = admin.get("sources/acme/orders").json()["unacknowledged"]
    assert [(one["status"], one["values"]) for one in listed] == [(422, {"reference": "R-1"})]
    page = admin.get("sources/acme/orders/log").json()
    assert page["items"][0]["refusals"][0]["errors"][0]["path"] == "/input/registration"
    assert page["items"][0]["by"] == "collector-api"
    partner.add(1, start=5)
    ran = admin.post("sources/acme/orders/run")
    assert (ran.status_code, ran.json()["reason"]) == (200, "1 taken, 0 there before, 0 refused")
    begins = admin.patch("sources/acme/orders", json={"cursor": None})
    assert begins.json()["cursor"] is None
    again = looked(admin, "orders", 3)
    assert (again["counters"]["duplicates"], again["counters"]["taken"]) == (4, 4)
    off = admin.post("sources/acme/orders/disable").json()
    assert (off["enabled"], off["next_at"]) == (False, None)
    changed = admin.patch("sources/acme/orders", json={"title": "All orders", "settings": {"pages_max": 3}}).json()
    assert (changed["title"], changed["settings"]["pages_max"], changed["enabled"]) == ("All orders", 3, False)
    assert changed["counters"]["taken"] == 4
    partner.answers["/orders"] = lambda _: (500, {}, None)
    failed = admin.post("sources/acme/orders/run")
    assert (failed.status_code, "answered 500" in failed.json()["detail"]) == (409, True)
    actions = [one["action"] for one in console.db["audit"].find({"target": "acme/orders"}).sort("_id", 1)]
    assert actions == [
        "source.put", "source.run", "source.cursor", "source.disable", "source.put", "source.run"
    ]  # fmt: skip


def test_a_time_that_is_due_outlives_changes_of_anything_but_the_schedule(admin: httpx.Client, console: Site) -> None:
    """Any change let a due time go, and nobody was told."""
    hourly = {"kind": "timer", "schedule": {"cron": "0 * * * *", "timezone": "UTC"}, "input": {"registration": "x"}}
    since = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - timedelta(hours=4)

    def stored() -> Any:
        return console.db["sources"].find_one({"_id": "acme/hourly"})

    def changed(method: str, path: str, **change: Any) -> tuple[datetime, Any]:
        """Of a timer with times that have come, when it is changed: since, and what the audit says of these times."""
        body = {"workflow": "tax", "settings": hourly, "enabled": False}
        assert admin.put("sources/acme/hourly", json=body).status_code == 200
        until(lambda: "holder" not in stored(), "no look is under way")
        console.db["sources"].update_one(
            {"_id": "acme/hourly"}, {"$set": {"since": since, "fired": None, "enabled": True}}
        )
        answer = admin.request(method, f"sources/acme/hourly{path}", **({"json": change} if change else {}))
        assert answer.status_code == 200, answer.text
        told = console.db["audit"].find_one({"target": "acme/hourly"}, sort=[("_id", -1)])
        return stored()["since"], told["details"].get("dropped")

    assert changed("PATCH", "", settings={"late_s": 60, "missed": "catch_up"}, title="Hourly") == (since, None)
    moved, dropped = changed("PATCH", "", settings={"schedule": {"cron": "15 * * * *", "timezone": "UTC"}})
    assert moved > since + timedelta(hours=3)
    dropped_off = [changed(*how)[1] for how in (("POST", "/disable"),)] + [changed("PATCH", "", enabled=False)[1]]
    for one in (dropped, *dropped_off):
        hours = (one["latest"] - since) // timedelta(hours=1) + 1
        assert (one["count"], one["latest"].minute) == (hours, 0)
    assert admin.post("sources/acme/hourly/enable").status_code == 200
    assert stored()["since"] > since + timedelta(hours=3)


def test_a_trial_stores_nothing(admin: httpx.Client, console: Site, partner: Partner) -> None:
    partner.add(2)
    partner.orders.append({"id": 3, "registration": "x", "at": "9"})
    before = console.db["tasks"].count_documents({})
    body = {key: orders(partner)[key] for key in ("workflow", "settings")}
    body["settings"]["acknowledge"] = {"url": f"{partner.url}/ack", "body": {"references": "{references}"}}
    tried = admin.post("sources/acme/orders/try", json=body)
    assert tried.status_code == 200, tried.text
    report = tried.json()["report"]
    assert (report["came"], report["would_be_taken"], report["refused"]) == (3, 2, 1)
    assert report["items"][0] == {"reference": "R-1", "input": {"registration": "1"}}
    assert report["refusals"][0]["reference"] == "R-3"
    assert console.db["tasks"].count_documents({}) == before
    assert console.db["source_log"].count_documents({"source": "acme/orders", "came": 3}) == 0
    assert partner.acknowledged == []
    again = admin.get(f"sources/acme/orders/try/{tried.json()['command']}").json()
    assert again["report"] == report
    timer = {"kind": "timer", "schedule": {"cron": "0 9 * * *", "timezone": "America/Sao_Paulo"}, "input": {}}
    times = admin.post("sources/acme/daily/try", json={"workflow": "tax", "settings": timer}).json()["report"]["times"]
    inbox = console.home / "sources" / ACME / "in"
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / "a.csv").write_text("reference,registration\nA,1\nB,x\n")
    folder = {"kind": "folder", "schedule": {"every_s": 60}, "folder": "in", "settle_s": 0.2}
    files = admin.post("sources/acme/files/try", json={"workflow": "tax", "settings": folder}).json()["report"]
    assert (files["would_be_taken"], files["refused"], files["files"][0]["to"]) == (1, 1, "taken")
    assert files["refusals"][0]["place"] == "row 3"
    assert [one.name for one in inbox.iterdir()] == ["a.csv"]
    assert len(times) == 5
    assert all(one.endswith("T09:00-03:00") for one in times)


@pytest.mark.parametrize(
    ("user", "method", "path", "status"),
    [
        ("vera", "GET", "orders", 200),
        ("vera", "POST", "orders/run", 403),
        ("otto", "POST", "orders/disable", 200),
        ("otto", "PUT", "orders", 403),
        ("otto", "DELETE", "orders", 403),
        ("otto", "POST", "orders/try", 403),
        ("olga", "GET", "orders", 404),
        ("olga", "GET", "orders/log", 404),
        ("olga", "POST", "orders/run", 404),
        ("ada", "GET", "nothing", 404),
    ],
)
def test_who_may_do_what(
    admin: httpx.Client, console: Site, partner: Partner, user: str, method: str, path: str, status: int
) -> None:
    body = orders(partner)
    assert admin.put("sources/acme/orders", json=body).status_code == 200
    if path.endswith("try"):
        del body["title"]
    with console.client(user) as client:
        answer = client.request(method, f"sources/acme/{path}", json=body if method in ("PUT", "POST") else None)
        assert answer.status_code == status, answer.text
        if user == "olga":
            assert client.get("sources").json()["items"] == []


def test_wrong_settings_name_the_field(admin: httpx.Client, partner: Partner) -> None:
    wrong = admin.put("sources/acme/orders", json=orders(partner, items="orders["))
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["path"] == "/settings/items"
    assert "no JMESPath" in wrong.json()["detail"]
    unknown = admin.put("sources/acme/orders", json={**orders(partner), "workflow": "nothing"})
    assert (unknown.status_code, "publish it first" in unknown.json()["detail"]) == (404, True)
    stored = admin.put("sources/acme/orders", json=orders(partner, cursor=None, request={"url": partner.url}))
    assert stored.status_code == 200, stored.text
    assert admin.patch("sources/acme/orders", json={"cursor": "x"}).status_code == 409
    assert admin.patch("sources/acme/orders", json={"cursor": "x", "title": "y"}).status_code == 422


def test_the_command_line(regente: Regente, admin: httpx.Client, partner: Partner, tmp_path: Any) -> None:
    partner.add(21)
    file = tmp_path / "erp.yaml"
    file.write_text(yaml.safe_dump(orders(partner)))
    assert "21 came, 21 would be taken, 0 refused" in regente("try", "--file", str(file))
    assert "acme/erp is stored, on" in regente("put", str(file))
    looked(admin, "erp")
    assert "0 taken, 0 there before" in regente("run", "erp")
    shown = regente("show", "erp")
    assert yaml.safe_load(shown)["settings"]["items"] == "orders"
    assert "cursor '2026-01-01T00:00:000021'" in shown
    assert "acme/erp" in regente("list")
    listed = json.loads(regente("list", "--json"))
    assert listed[0]["counters"]["taken"] + listed[0]["counters"]["duplicates"] == 21
    assert "21" in regente("log", "erp")
    assert "acme/erp is off" in regente("disable", "erp")
    assert "acme/erp is on" in regente("enable", "erp")
    assert "begins at None" in regente("cursor", "erp")
    assert "is removed" in regente("remove", "erp")
    assert "does not exist" in regente("show", "erp", code=1)
    assert json.loads(regente("log", "erp", "--json"))  # stays
