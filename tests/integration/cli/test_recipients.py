"""`regente recipient`, `regente silence`, and what `regente alert` says of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import yaml

from tests.integration.console.site import ACME, Site, answer_commands

FILE = """
title: Operations
channels:
- {kind: mail, address: ops@acme.example, min_severity: error}
- {kind: webhook, address: "https://acme.example/hook"}
- {kind: slack, address: "https://hooks.example/T1/secret-path"}
hours: {timezone: America/Sao_Paulo, windows: [{days: [mon, fri], start: 08:00, end: 18:00}]}
"""


def test_recipients_are_put_shown_put_back_tried_and_removed(regente: Any, console: Site) -> None:
    made = regente("recipient", "put", "ops", "-", text=FILE).stdout
    assert f"{ACME}/ops is on" in made
    assert "signs with whsec_" in made
    assert "mail ops@acme.example" in regente("recipient", "list").stdout
    before = console.db["recipients"].find_one({"_id": f"{ACME}/ops"}) or {}
    shown = regente("recipient", "show", "ops").stdout
    assert ("secret-path" in shown, "whsec_" in shown) == (False, False)
    again = regente("recipient", "put", "ops", "-", text=shown).stdout
    assert again == f"{ACME}/ops is on\n"
    after = console.db["recipients"].find_one({"_id": f"{ACME}/ops"}) or {}
    assert {**after, "updated_at": 0} == {**before, "updated_at": 0}
    channel = json.loads(regente("recipient", "show", "ops", "--json").stdout)["channels"][0]["id"]
    with answer_commands(console) as commands:
        assert regente("recipient", "test", "ops", "--channel", channel).stdout.startswith("done")
    assert commands[0]["args"] == {"recipient": f"{ACME}/ops", "channel": channel}
    assert regente("recipient", "disable", "ops").stdout == f"{ACME}/ops is off\n"
    assert yaml.safe_load(regente("recipient", "show", "ops").stdout)["enabled"] is False
    assert regente("recipient", "put", "*/all", "-", text=FILE).stdout.startswith("*/all is on")
    assert regente("recipient", "remove", "*/all").stdout == "*/all is removed\n"
    assert "channels.0.address" in regente(
        "recipient", "put", "bad", "-", text="channels: [{kind: mail, address: x}]", code=1
    ).stderr  # fmt: skip


def test_silences_are_made_listed_and_ended(regente: Any, console: Site) -> None:
    made = regente(
        "silence", "make", "rule=robot_lost", "robot=~02*", "--for", "2h", "--reason", "network", "--account", ACME
    ).stdout
    id = made.split()[0]
    listed = regente("silence", "list").stdout
    assert ("rule=robot_lost robot=~02*" in listed, id in listed) == (True, True)
    stored = console.db["silences"].find_one({"_id": id}) or {}
    assert (stored["ends_at"] - stored["starts_at"]).total_seconds() == 7200
    assert regente("silence", "end", id).stdout == f"{id} is over\n"
    assert id in regente("silence", "list", "--ended").stdout
    assert "is over" in regente("silence", "end", id, code=1).stderr
    assert "no matcher" in regente("silence", "make", "colour=red", "--reason", "x", code=2).stderr


def test_an_alert_is_silenced_and_says_who_was_told(regente: Any, console: Site) -> None:
    at, alert = datetime.now(UTC), "alert_for_silence"
    console.db["alerts"].insert_one(
        {"_id": alert, "rule": "robot_lost", "kind": "robot_lost", "target": "worker/09", "account": ACME,
         "severity": "error", "text": "robot 09 is lost", "facts": {"worker": "09"}, "state": "firing", "since": at,
         "fired_at": at, "acked": {"by": "otto", "at": at, "note": "on my way"}}
    )  # fmt: skip
    console.db["notifications"].insert_one(
        {"_id": "ntf_for_silence", "lane": f"{ACME}/ops#mail-1", "n": 1, "recipient": f"{ACME}/ops", "account": ACME,
         "kind": "mail", "state": "dead", "reason": "no such box", "items": [{"alert": alert, "what": "firing"}],
         "opened_at": at, "attempts": []}
    )  # fmt: skip
    assert " until " in regente("alert", "silence", alert, "--for", "30m", "--reason", "moving").stdout
    shown = regente("alert", "show", alert).stdout
    assert "otto looks at it: on my way" in shown
    assert "silenced until" in shown
    assert f"{ACME}/ops by mail: firing: dead: no such box" in shown
