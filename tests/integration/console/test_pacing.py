"""Adaptive waits in the API and on the command line: what is learned is shown; forgetting and freezing are requests."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from shared.domain import pacing
from shared.domain.pacing import Observation
from shared.domain.pacing_find import Wait
from shared.domain.pacing_pause import Bounds
from tests.integration.console.site import ACME, Site, answer_commands, now, workflow_files

PLACE = "tax.py:execute:12:browser.click"


@pytest.fixture
def flow(console: Site, admin: httpx.Client) -> str:
    """A workflow that has learned something at one place."""
    name = f"paced-{uuid.uuid4().hex[:8]}"
    admin.post("workflows", json={"account": ACME, "files": workflow_files(name)}).raise_for_status()
    place = pacing.fresh()
    for _ in range(60):
        paused_s = pacing.plan(place, Bounds(), 0, robot="02aa").pause_s
        seen = Observation(
            early=paused_s < 0.3, paused_s=paused_s, found_s=0.25, wait=Wait(25), robot="02aa", object="portal.go"
        )
        place = pacing.learn(place, seen, Bounds(), 0)
    key = f"{ACME}/{name}"
    head = {"key": key, "account": ACME, "workflow": name, "place": PLACE, "rev": 7, "seen_at": now()}
    console.db["paces_learned"].insert_one({"_id": f"{key}/{PLACE}", **head, **pacing.to_document(place)})
    console.db["paces_learned"].insert_one({"_id": key, "account": ACME, "workflow": name, "hours": 12.5})
    return name


def test_what_is_learned_is_shown(admin: httpx.Client, flow: str) -> None:
    found = admin.get(f"workflows/{ACME}/{flow}/pacing").json()
    assert (found["mode"], found["frozen"], found["robot_hours"]) == ("learn", False, 12.5)
    (place,) = found["places"]
    assert (place["place"], place["samples"], place["found"], place["missed"]) == (PLACE, 60, 60, 0)
    assert place["pause_s"] >= 0.3
    assert place["failures"] > 0
    assert (place["found_mean_s"], place["found_max_s"]) == (0.25, 0.25)
    (robot,), (thing,) = place["robots"], place["objects"]
    assert (robot["robot"], robot["samples"], robot["pause_s"]) == ("02aa", 60, place["pause_s"])
    assert (thing["object"], thing["found"]) == ("portal.go", 60)
    assert admin.get(f"workflows/{ACME}/none/pacing").status_code == 404


def test_others_accounts_and_viewers(console: Site, flow: str) -> None:
    with console.client("olga") as other, console.client("vera") as viewer:
        assert other.get(f"workflows/{ACME}/{flow}/pacing").status_code == 404
        assert viewer.get(f"workflows/{ACME}/{flow}/pacing").status_code == 200
        assert viewer.post(f"workflows/{ACME}/{flow}/pacing/reset").status_code == 403


@pytest.mark.parametrize(
    ("action", "body", "args"),
    [
        ("reset", None, {"place": None}),
        ("reset", {"place": PLACE}, {"place": PLACE}),
        ("freeze", {"on": True}, {"on": True, "place": None}),
        ("freeze", {"on": False, "place": PLACE}, {"on": False, "place": PLACE}),
    ],
)
def test_forgetting_and_freezing_are_audited_requests(
    console: Site, flow: str, action: str, body: dict[str, Any] | None, args: dict[str, Any]
) -> None:
    with console.client("otto") as operator, answer_commands(console) as commands:
        answer = operator.post(f"workflows/{ACME}/{flow}/pacing/{action}", json=body)
    assert answer.status_code == 200, answer.text
    (command,) = commands
    assert (command["kind"], command["to"], command["target"]) == (f"pacing.{action}", "executor", f"{ACME}/{flow}")
    assert (command["args"], command["by"]) == (args, "otto")
    assert console.db["audit"].count_documents({"action": f"pacing.{action}", "target": f"{ACME}/{flow}"}) == 1


def test_a_wrong_request_is_refused(admin: httpx.Client, flow: str) -> None:
    for body in ({}, {"on": "maybe"}, {"on": True, "more": 1}):
        assert admin.post(f"workflows/{ACME}/{flow}/pacing/freeze", json=body).status_code == 422


def test_the_command_line_shows_forgets_and_freezes(console: Site, flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TOKEN", "KEY", "COLLECTOR_URL", "DELIVERY_URL", "ACCOUNT"):
        monkeypatch.delenv(f"REGENTE_{name}", raising=False)
    monkeypatch.setenv("REGENTE_HOME", str(console.home))
    monkeypatch.setenv("REGENTE_ACCOUNT", ACME)
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("REGENTE_URL", console.url)
    monkeypatch.setenv("REGENTE_TOKEN", console.token("admin"))

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["workflow", "pacing", flow, *arguments])
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result.stdout

    shown = run()
    assert "12.5 robot hours" in shown
    assert PLACE in shown
    assert [one["place"] for one in json.loads(run("--json"))["places"]] == [PLACE]
    assert json.loads(run("--place", "nowhere", "--json"))["places"] == []
    with answer_commands(console) as commands:
        assert run("--freeze", "--place", PLACE) == "done\n"
        assert run("--unfreeze") == "done\n"
        assert run("--reset") == "done\n"
    asked = [(one["kind"], one["args"]) for one in commands]
    assert asked == [
        ("pacing.freeze", {"place": PLACE, "on": True}),
        ("pacing.freeze", {"place": None, "on": False}),
        ("pacing.reset", {"place": None}),
    ]
    run("--freeze", "--reset", code=2)
