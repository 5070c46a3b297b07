"""Who may say who is told of alerts, and when not: recipients, silences, and what is shown of messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.recipients import SECRET_PURPOSE, parse_recipient
from shared.domain.silences import parse_silence
from shared.obs.ids import new_id
from shared.seal import Sealer
from tests.integration.console.site import ACME, MASTER_KEY, Site, answer_commands, until

MAIL = {"kind": "mail", "address": "ops@acme.example", "min_severity": "error"}
HOOK = {"kind": "webhook", "address": "https://acme.example/hook"}
SLACK = {"kind": "slack", "address": "https://hooks.example/T1/secret-path"}
BODY = {"title": "Operations", "language": "pt_BR", "channels": [MAIL, HOOK, SLACK], "repeat_s": 3600}


def opened(console: Site, id: str) -> dict[str, str]:
    """The channels' secrets of a recipient, as alerts opens them, by kind."""
    document = console.db["recipients"].find_one({"_id": id})
    assert document is not None
    sealer = Sealer(MASTER_KEY)
    channels = [one for one in parse_recipient(document).channels if one.secret]
    return {one.kind.value: sealer.open(SECRET_PURPOSE, one.secret or b"", id.encode()).decode() for one in channels}


def put_alert(console: Site, **fields: Any) -> str:
    """An alert that fires, as alerts keeps it."""
    id, at = new_id("alert_"), datetime.now(UTC)
    document = {
        "_id": id, "schema_version": 1, "rule": "robot_lost", "kind": "robot_lost", "target": f"worker/{id[-6:]}",
        "key": f"robot_lost#worker/{id}", "open": True, "account": ACME, "severity": "error", "count": 0,
        "text": f"robot {id[-6:]} is lost", "facts": {"worker": id[-6:]}, "state": "firing", "since": at,
        "fired_at": at, "resolved_at": None, "resolved_why": None, "acked": None, "notify": None, "changes": 1,
        "op": "op_1",
    }  # fmt: skip
    console.db["alerts"].insert_one({**document, **fields})
    return id


def test_secrets_go_in_are_shown_once_and_stay_when_the_rest_is_edited(console: Site) -> None:
    path, id = f"recipients/{ACME}/ops", f"{ACME}/ops"
    with console.client("ada") as own:
        made = own.put(path, json=BODY)
        assert made.status_code == 200, made.text
        (secret,) = made.json()["secrets"].values()
        assert opened(console, id) == {"webhook": secret, "slack": SLACK["address"]}
        seen = own.get(path)
        assert (secret in seen.text, "secret-path" in seen.text) == (False, False)
        assert [one["address"] for one in seen.json()["channels"]] == [
            "ops@acme.example", "https://acme.example/hook", "https://hooks.example/",
        ]  # fmt: skip
        edited = {**BODY, "title": "Ops", "channels": [HOOK, {"kind": "slack"}]}
        again = own.put(path, json=edited)
        assert (again.status_code, again.json()["secrets"]) == (200, {}), again.text
        assert opened(console, id) == {"webhook": secret, "slack": SLACK["address"]}
    assert console.db["audit"].count_documents({"action": "recipient.put", "target": id, "by": "ada"}) == 2
    audited = str(list(console.db["audit"].find({"target": id})))
    assert (secret in audited, "secret-path" in audited) == (False, False)


def test_who_sees_and_changes_recipients(console: Site) -> None:
    path = f"recipients/{ACME}/roles"
    body = {"channels": [MAIL]}
    with console.client() as admin:
        assert admin.put(path, json=body).status_code == 200
        assert admin.put("recipients/*/all", json=body).status_code == 200
        assert "*/all" in [one["id"] for one in admin.get("recipients", params={"account": "*"}).json()["items"]]
    answers = {}
    for user in ("vera", "otto", "ada", "olga", "ole"):
        with console.client(user) as client:
            answers[user] = (
                client.get(path).status_code,
                client.get("recipients/*/all").status_code,
                client.put(path, json=body).status_code,
                client.put("recipients/*/all", json=body).status_code,
                client.delete("recipients/*/all").status_code,
            )
    assert answers == {
        "vera": (200, 404, 403, 403, 403),
        "otto": (200, 404, 403, 403, 403),
        "ada": (200, 404, 200, 403, 404),
        "olga": (404, 404, 404, 403, 404),
        "ole": (200, 200, 403, 403, 403),
    }
    with console.client("ada") as own:
        assert own.delete(path).status_code == 204
        assert own.get(path).status_code == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": [{"kind": "mail", "address": "nobody"}]}, "channels.0.address"),
        ({"channels": [MAIL, {"kind": "webhook", "address": "http://10.0.0.1/"}]}, "channels.1.address"),
        ({"channels": [{"kind": "sms", "address": "123"}]}, "channels.0.address"),
        ({"channels": [{"kind": "pigeon", "address": "x"}]}, "channels.0.kind"),
        ({"channels": [MAIL, MAIL]}, "twice"),
        ({"channels": []}, "channels"),
        ({"language": "xx"}, "language"),
        ({"rate": {"messages": 0}}, "rate.messages"),
        ({"hours": {"timezone": "Nowhere", "windows": []}}, "hours"),
    ],
)
def test_what_is_no_recipient_names_the_field(console: Site, change: dict[str, object], said: str) -> None:
    with console.client("ada") as own:
        answer = own.put(f"recipients/{ACME}/bad", json={"channels": [MAIL], **change})
    assert (answer.status_code, said in answer.text) == (422, True), answer.text
    assert console.db["recipients"].find_one({"_id": f"{ACME}/bad"}) is None


def test_a_test_message_is_asked_of_alerts(console: Site) -> None:
    with console.client("ada") as own:
        made = own.put(f"recipients/{ACME}/tried", json={"channels": [MAIL]}).json()
    channel = made["channels"][0]["id"]
    path = f"recipients/{ACME}/tried/test"
    with console.client("otto") as operator, console.client("vera") as viewer, answer_commands(console) as commands:
        assert operator.post(path).status_code == 200
        assert operator.post(path, json={"channel": channel}).status_code == 200
        assert viewer.post(path).status_code == 403
        until(lambda: len(commands) == 2, "both were asked for")
    assert [(one["kind"], one["to"], one["args"]) for one in commands] == [
        ("alert.test", "alerts", {"recipient": f"{ACME}/tried"}),
        ("alert.test", "alerts", {"recipient": f"{ACME}/tried", "channel": channel}),
    ]


def test_an_alert_is_silenced_and_the_silence_ended(console: Site) -> None:
    alert = put_alert(console)
    with console.client("otto") as operator, console.client("vera") as viewer:
        assert viewer.post(f"alerts/{alert}/silence", json={"reason": "x"}).status_code == 403
        made = operator.post(f"alerts/{alert}/silence", json={"for_s": 600, "reason": "we move the machine"})
        assert made.status_code == 201, made.text
        silence = made.json()
        until(lambda: viewer.get(f"alerts/{alert}").json()["silenced_until"] is not None, "it shows")
        listed = [one["id"] for one in viewer.get("silences", params={"account": ACME}).json()["items"]]
        assert silence["id"] in listed
        stored = console.db["silences"].find_one({"_id": silence["id"]}) or {}
        labels = {"rule": "robot_lost", "target": f"worker/{alert[-6:]}", "account": ACME}
        assert parse_silence(stored).matches(labels)
        assert not parse_silence(stored).matches({**labels, "target": "worker/other"})
        ended = operator.post(f"silences/{silence['id']}/end")
        assert ended.status_code == 200, ended.text
        assert operator.post(f"silences/{silence['id']}/end").status_code == 409
        until(lambda: viewer.get(f"alerts/{alert}").json()["silenced_until"] is None, "it is told again")
        over = [one["id"] for one in viewer.get("silences", params={"ended": "true"}).json()["items"]]
        assert silence["id"] in over
    done = [one["action"] for one in console.db["audit"].find({"target": silence["id"]}).sort("at", 1)]
    assert done == ["silence.make", "silence.end"]


def test_whose_silences_are_seen_and_ended(console: Site) -> None:
    body = {"matchers": [{"field": "kind", "value": "robot_lost"}], "for_s": 60, "reason": "work on the network"}
    with console.client("ole") as everywhere, console.client("otto") as own, console.client("olga") as foreign:
        assert own.post("silences", json=body).status_code == 403  # for all accounts
        for_all = everywhere.post("silences", json=body).json()["id"]
        of_acme = own.post("silences", json={**body, "account": ACME}).json()["id"]
        assert foreign.post("silences", json={**body, "account": ACME}).status_code == 404
        seen = {one["id"] for one in foreign.get("silences").json()["items"]}
        assert (for_all in seen, of_acme in seen) == (True, False)
        assert foreign.get(f"silences/{of_acme}").status_code == 404
        assert foreign.post(f"silences/{of_acme}/end").status_code == 404
        assert own.post(f"silences/{for_all}/end").status_code == 403
        assert everywhere.post(f"silences/{for_all}/end").status_code == 200
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        begins = own.post("silences", json={**body, "account": ACME, "starts_at": later}).json()["id"]
        assert own.post(f"silences/{begins}/end").status_code == 200  # before it began


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"for_s": None}, "for_s"),
        ({"ends_at": "2100-01-01T00:00:00Z"}, "for_s"),
        ({"for_s": None, "ends_at": "2001-01-01T00:00:00Z"}, "ends"),
        ({"starts_at": "2001-01-01T00:00:00Z"}, "over"),
        ({"for_s": 91 * 86400}, "for_s"),
        ({"matchers": []}, "matchers"),
        ({"matchers": [{"field": "colour", "value": "red"}]}, "matchers.0.field"),
        ({"matchers": [{"field": "rule", "op": "like", "value": "x"}]}, "matchers.0.op"),
        ({"reason": " "}, "reason"),
    ],
)
def test_what_is_no_silence_names_the_field(console: Site, change: dict[str, object], said: str) -> None:
    body = {"account": ACME, "matchers": [{"field": "rule", "value": "x"}], "for_s": 60, "reason": "why", **change}
    with console.client("otto") as own:
        answer = own.post("silences", json=body)
    assert (answer.status_code, said in answer.text) == (422, True), answer.text


def test_who_was_told_is_shown_without_addresses(console: Site) -> None:
    alert, at = put_alert(console), datetime.now(UTC)
    console.db["notifications"].insert_one(
        {"_id": new_id("ntf_"), "lane": "*/night#mail-000000000000", "n": 1, "recipient": "*/night", "account": ACME,
         "channel": "mail-000000000000", "kind": "mail", "address": "private@home.example", "state": "sent",
         "items": [{"id": f"{alert}/1/0", "alert": alert, "what": "firing"}, {"alert": "another", "what": "resolved"}],
         "opened_at": at, "sent_at": at, "attempts": [], "failed": 0}
    )  # fmt: skip
    with console.client("vera") as viewer, console.client("olga") as foreign:
        told = viewer.get(f"alerts/{alert}/told")
        assert foreign.get(f"alerts/{alert}/told").status_code == 404
    (one,) = told.json()["items"]
    assert (one["recipient"], one["state"], one["what"]) == ("*/night", "sent", ["firing"])
    assert "private@home.example" not in told.text


def test_alerts_are_filtered(console: Site) -> None:
    critical = put_alert(console, severity="critical", acked={"by": "otto", "at": datetime.now(UTC), "note": ""})
    target = f"worker/{critical[-6:]}"
    with console.client("vera") as viewer:

        def found(**query: str) -> bool:
            listed = viewer.get("alerts", params={"limit": 200, **query}).json()["items"]
            return critical in {one["id"] for one in listed}

        assert found(severity="critical")
        assert found(acked="true", target=target)
        assert not found(severity="error")
        assert not found(acked="false")
        assert viewer.get("alerts", params={"severity": "dreadful"}).status_code == 422


def test_that_alerts_itself_is_silent_is_noticed_by_whoever_watches(console: Site) -> None:
    """The leader's lease stands still: first nothing is said, a moment later it is; once it moves again it is over."""
    leases = console.db["leases"]
    alert = put_alert(console, severity="critical")
    lease = {"owner": "alerts-1", "token": 1, "counter": 1, "at": datetime.now(UTC)}
    leases.replace_one({"_id": "evaluation/leader"}, lease, upsert=True)
    with console.client("vera") as viewer:

        def silent_s() -> float | None:
            seen = viewer.get("watch", params={"severity": "critical"}).json()
            assert alert in {one["id"] for one in seen["alerts"]}
            assert {one["severity"] for one in seen["alerts"]} == {"critical"}
            found: float | None = seen["silent_s"]
            return found

        until(lambda: silent_s() is not None, "nobody leads any more", 60)
        leases.update_one({"_id": "evaluation/leader"}, {"$inc": {"counter": 1}})
        until(lambda: silent_s() is None, "somebody leads again", 30)
