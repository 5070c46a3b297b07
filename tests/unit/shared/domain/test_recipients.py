"""Recipients and silences: what people may write, what is stored of it, and whom an alert reaches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.alert_rules import AlertSeverity
from shared.domain.endpoint import secret_text
from shared.domain.recipients import (
    BadRecipient,
    Channel,
    ChannelKind,
    Hours,
    Recipient,
    channel_id,
    chosen,
    parse_channel,
    parse_recipient,
    recipient_document,
    stored_channel,
)
from shared.domain.silences import (
    BadSilence,
    Silence,
    labels_of,
    parse_silence,
    silence_document,
    silenced_until,
)

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
"""A Sunday."""
SECRET = secret_text(bytes(32))


def seal(text: str) -> bytes:
    return text[::-1].encode()


def stored(sent: Mapping[str, Any], before: tuple[Channel, ...] = ()) -> Channel:
    return stored_channel(parse_channel(sent), seal=seal, before=before, new_secret=SECRET)


def mail(**fields: Any) -> Channel:
    return stored({"kind": "mail", "address": "ann@acme.example", **fields})


def somebody(id: str, **fields: Any) -> Recipient:
    return parse_recipient({"_id": id, "channels": [mail().model_dump()], **fields})


def labels(**fields: str) -> dict[str, str]:
    alert = {"rule": "robot_lost", "kind": "robot_lost", "severity": "error", "account": "acme", "target": "worker/w1"}
    return labels_of({**alert, "facts": {"worker": "w1", "workflow": "tax"}, **fields})


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"kind": "mail", "address": "Ann <ann@acme.example>"}, "address"),
        ({"kind": "mail", "address": "ann@acme.example", "secret": SECRET}, "secret"),
        ({"kind": "sms", "address": "0800 123"}, "address"),
        ({"kind": "webhook", "address": "https://127.0.0.1/x"}, "address"),
        ({"kind": "webhook", "address": ""}, "address"),
        ({"kind": "webhook", "address": "https://ops.example/x", "secret": "whsec_short"}, "secret"),
        ({"kind": "slack", "address": "ftp://hooks.example/x"}, "address"),
        ({"kind": "pigeon", "address": "x"}, "kind"),
        ({"kind": "mail", "address": "ann@acme.example", "min_severity": "awful"}, "min_severity"),
    ],
)
def test_a_channel_that_can_not_be_used_is_refused(sent: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRecipient) as refused:
        parse_channel(sent)
    assert [where for where, _ in refused.value.errors] == [path]
    assert "short" not in str(refused.value)


def test_what_a_channel_may_not_show_is_sealed() -> None:
    slack = stored({"kind": "slack", "address": "https://hooks.example/services/T0/B0/token"})
    assert slack.address == "https://hooks.example/"
    assert slack.secret == seal("https://hooks.example/services/T0/B0/token")
    assert "token" not in slack.model_dump_json(exclude={"secret"})
    hook = stored({"kind": "webhook", "address": "https://ops.example/alerts"})
    assert hook.secret == seal(SECRET)


def test_a_channel_that_is_written_again_keeps_its_secret() -> None:
    own = secret_text(bytes(range(32)))
    hook = stored({"kind": "webhook", "address": "https://ops.example/alerts", "secret": own})
    again = stored({"kind": "webhook", "address": "https://ops.example/alerts", "min_severity": "error"}, (hook,))
    assert (again.id, again.secret, again.min_severity) == (hook.id, hook.secret, AlertSeverity.ERROR)
    moved = stored({"kind": "webhook", "address": "https://ops.example/other"}, (hook,))
    assert moved.id != hook.id
    assert moved.secret == seal(SECRET)  # never one that another address knows
    slack = stored({"kind": "slack", "address": "https://hooks.example/services/one"})
    assert stored({"kind": "slack"}, (slack,)).secret == slack.secret
    with pytest.raises(BadRecipient):
        stored({"kind": "slack"})


def test_a_recipient_comes_back_from_the_database_as_it_was() -> None:
    hours = {"timezone": "America/Sao_Paulo", "windows": [{"days": ["mon"], "start": "08:00", "end": "18:00"}]}
    one = somebody("acme/ops", language="pt_BR", hours=hours, rate={"messages": 3, "per_s": 60})
    document = recipient_document(one, at=NOW, by="ann")
    assert (document["_id"], document["account"], document["name"]) == ("acme/ops", "acme", "ops")
    assert parse_recipient(document) == one
    assert recipient_document(somebody("*/ops"), at=NOW, by="ann")["account"] is None


@pytest.mark.parametrize("id", ["ops", "acme/", "acme/Ops", "a/b/c", "**/ops"])
def test_a_recipient_has_an_account_and_a_name(id: str) -> None:
    with pytest.raises(BadRecipient):
        somebody(id)


def test_the_same_address_twice_is_refused() -> None:
    with pytest.raises(BadRecipient):
        parse_recipient({"_id": "*/ops", "channels": [mail().model_dump(), mail(min_severity="error").model_dump()]})


def test_a_channel_covers_what_it_asks_for() -> None:
    assert mail().covers(labels())
    assert not mail(min_severity="critical").covers(labels())
    assert mail(rules=["robot_*"], targets=["worker/*"]).covers(labels())
    assert not mail(rules=["task_*"]).covers(labels())
    assert not mail(targets=["task/*"]).covers(labels())


def test_outside_its_hours_a_recipient_is_told_of_what_is_critical_alone() -> None:
    windows = [{"days": ["mon", "fri"], "start": "08:00", "end": "18:00"}]
    one = somebody("*/ops", hours={"timezone": "America/Sao_Paulo", "windows": windows})
    assert one.wait_until(AlertSeverity.CRITICAL, NOW) is None
    assert one.wait_until(AlertSeverity.ERROR, NOW) == datetime(2027, 2, 1, 11, tzinfo=UTC)
    assert one.wait_until(AlertSeverity.ERROR, datetime(2027, 2, 1, 12, tzinfo=UTC)) is None


def test_hours_in_a_zone_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError):
        Hours.model_validate(
            {"timezone": "Mars/Base", "windows": [{"days": ["mon"], "start": "08:00", "end": "18:00"}]}
        )


NAMES = st.sampled_from(["ops", "night", "boss"])
PEOPLE = st.dictionaries(
    st.tuples(st.sampled_from(["*", "acme", "other"]), NAMES), st.tuples(st.booleans(), st.booleans()), max_size=9
)


@given(PEOPLE, st.lists(NAMES, max_size=3), st.sampled_from([None, "acme"]))
def test_who_is_told(people: dict[tuple[str, str], tuple[bool, bool]], names: list[str], account: str | None) -> None:
    known = {
        f"{owner}/{name}": somebody(f"{owner}/{name}", enabled=enabled, default=default)
        for (owner, name), (enabled, default) in people.items()
    }
    told = chosen(names, account, known)
    reachable = [one for one in known.values() if one.enabled and one.account in {None, account}]
    assert all(one in reachable for one in told)  # never another account's, never a disabled one
    assert len({one.id for one in told}) == len(told)
    named = [one for one in told if one.name in names]
    defaults = [one for one in reachable if one.default]
    if not named:
        own = [one for one in defaults if one.account == account]
        assert told == (own or [one for one in defaults if one.account is None])
    for name in names:
        own, ours = known.get(f"{account}/{name}"), known.get(f"*/{name}")
        first = own or ours
        if first is not None and first.enabled:
            assert first in told


def test_a_channels_id_follows_from_its_address() -> None:
    assert channel_id(ChannelKind.MAIL, "a@b.c") == channel_id(ChannelKind.MAIL, "a@b.c")
    assert channel_id(ChannelKind.MAIL, "a@b.c") != channel_id(ChannelKind.MAIL, "a@b.d")
    assert mail().id == mail(min_severity="error").id


# silences


def silence(*matchers: dict[str, str], **fields: Any) -> Silence:
    times = {"starts_at": NOW - timedelta(hours=1), "ends_at": NOW + timedelta(hours=1)}
    return parse_silence({"_id": "s1", "matchers": matchers, "by": "ann", "reason": "new robots", **times, **fields})


@pytest.mark.parametrize(
    ("matcher", "matches"),
    [
        ({"field": "rule", "value": "robot_lost"}, True),
        ({"field": "rule", "op": "ne", "value": "robot_lost"}, False),
        ({"field": "rule", "op": "ne", "value": "task_waiting"}, True),
        ({"field": "target", "op": "glob", "value": "worker/*"}, True),
        ({"field": "robot", "value": "w1"}, True),
        ({"field": "workflow", "op": "glob", "value": "t?x"}, True),
        ({"field": "service", "value": "delivery"}, False),
        ({"field": "service", "op": "ne", "value": "delivery"}, True),
        ({"field": "severity", "value": "error"}, True),
        ({"field": "account", "value": "other"}, False),
    ],
)
def test_what_a_silence_is_about(matcher: dict[str, str], matches: bool) -> None:
    one = silence(matcher)
    assert one.matches(labels()) is matches
    assert silenced_until(labels(), [one], NOW) == (one.ends_at if matches else None)


def test_all_matchers_must_match_and_the_account_too() -> None:
    both = ({"field": "kind", "value": "robot_lost"}, {"field": "robot", "value": "w2"})
    assert not silence(*both).matches(labels())
    assert not silence(both[0], account="other").matches(labels())
    assert silence(both[0], account="acme").matches(labels())


def test_a_silence_holds_from_its_start_until_its_end() -> None:
    one = silence({"field": "kind", "value": "robot_lost"})
    assert [one.active(at) for at in (one.starts_at, NOW, one.ends_at)] == [True, True, False]
    assert silenced_until(labels(), [one], one.ends_at) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"matchers": []},
        {"ends_at": NOW - timedelta(hours=2)},
        {"ends_at": NOW + timedelta(days=91)},
        {"reason": ""},
        {"matchers": [{"field": "colour", "value": "red"}]},
        {"matchers": [{"field": "rule", "op": "regex", "value": ".*"}]},
    ],
)
def test_a_silence_that_says_too_little_or_lasts_too_long_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSilence):
        silence({"field": "rule", "value": "x"}, **wrong)


def test_a_silence_comes_back_from_the_database_as_it_was() -> None:
    one = silence({"field": "rule", "op": "glob", "value": "robot_*"}, account="acme")
    document = silence_document(one)
    assert document["expires_at"] > one.ends_at
    assert parse_silence({**document, "ends_at": one.ends_at.replace(tzinfo=None)}) == one
