"""Who may see and change the rules that make alerts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.alert_rules import DEFAULTS, rule_document
from tests.integration.console.site import ACME, OTHER, Site

BODY = {"kind": "robot_lost", "title": "A robot of ours is lost", "severity": "critical", "for_s": 30}


@pytest.fixture(autouse=True)
def seeded(console: Site) -> None:
    """The rules that every installation has."""
    for rule in DEFAULTS:
        document = rule_document(rule, at=datetime.now(UTC), by="installation")
        console.db["rules"].replace_one({"_id": rule.id}, document, upsert=True)


def test_an_account_changes_its_own_rules_and_sees_no_others(console: Site) -> None:
    with console.client("ada") as own, console.client("olga") as foreign:
        assert own.put(f"rules/{ACME}/robot_lost", json=BODY).status_code == 200
        assert own.put("rules/robot_lost", json=BODY).status_code == 403
        assert foreign.put(f"rules/{ACME}/robot_lost", json=BODY).status_code == 404
        assert foreign.get(f"rules/{ACME}/robot_lost").status_code == 404
        assert foreign.delete(f"rules/{ACME}/robot_lost").status_code == 404
        assert foreign.get("rules/robot_lost").json()["severity"] == "error"
        seen = {one["id"] for one in foreign.get("rules", params={"limit": 200}).json()["items"]}
        assert f"{ACME}/robot_lost" not in seen
        assert "robot_lost" in seen
        assert own.delete(f"rules/{ACME}/robot_lost").status_code == 204


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (f"{ACME}/service_down", {"kind": "service_down"}, "about the installation"),
        (f"{ACME}/x", {"kind": "no_such"}, "kind"),
        (f"{ACME}/x", {"params": {"still": 3}}, "params"),
        (f"{ACME}/x", {"repeat_s": 1}, "repeat_s"),
    ],
)
def test_what_is_no_rule_names_the_field(console: Site, name: str, change: dict[str, object], said: str) -> None:
    with console.client("ada") as own:
        answer = own.put(f"rules/{name}", json={**BODY, **change})
    assert (answer.status_code, said in answer.text) == (422, True), answer.text
    assert console.db["rules"].find_one({"_id": name}) is None


def test_alerts_of_other_accounts_do_not_exist(console: Site) -> None:
    at = datetime.now(UTC)
    console.db["alerts"].insert_one(
        {"_id": "alert_of_acme", "rule": "robot_lost", "kind": "robot_lost", "target": "worker/1", "account": ACME,
         "severity": "error", "text": "robot 1 is lost", "facts": {}, "state": "firing", "since": at}
    )  # fmt: skip
    with console.client("olga") as foreign, console.client("vera") as viewer:
        assert foreign.get("alerts/alert_of_acme").status_code == 404
        assert foreign.post("alerts/alert_of_acme/ack").status_code == 404
        listed = foreign.get("alerts", params={"account": OTHER}).json()["items"]
        assert "alert_of_acme" not in {one["id"] for one in listed}
        assert viewer.get("alerts/alert_of_acme").json()["text"] == "robot 1 is lost"
        assert viewer.post("alerts/alert_of_acme/ack").status_code == 403
