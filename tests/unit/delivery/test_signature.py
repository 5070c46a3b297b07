"""Signatures, verified as a partner does it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from services.delivery.core.endpoints import secret_text
from services.delivery.core.signature import headers

secrets = st.binary(min_size=24, max_size=64).map(secret_text)


@given(st.lists(secrets, min_size=1, max_size=3, unique=True), st.dictionaries(st.text(), st.text(), max_size=3))
def test_every_secret_of_an_endpoint_verifies(known: list[str], value: dict[str, str]) -> None:
    body = json.dumps(value, ensure_ascii=True)
    sent = headers(known, webhook_id="msg_1", at=datetime.now(UTC), body=body)
    for secret in known:
        assert Webhook(secret).verify(body, sent) == value


@given(secrets, secrets)
def test_another_secret_or_other_bytes_do_not_verify(mine: str, other: str) -> None:
    sent = headers([mine], webhook_id="msg_1", at=datetime.now(UTC), body="{}")
    with pytest.raises(WebhookVerificationError):
        Webhook(mine).verify("{ }", sent)
    if other != mine:
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify("{}", sent)


def test_the_timestamp_is_the_seconds_of_the_attempt() -> None:
    at = datetime(2027, 1, 31, 12, 0, 0, 999000, tzinfo=UTC)
    sent = headers([secret_text(b"x" * 24)], webhook_id="msg_1", at=at, body="{}")
    assert sent["webhook-timestamp"] == str(int(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()))
    assert sent["webhook-id"] == "msg_1"


def test_an_endpoint_without_a_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="no secret"):
        headers([], webhook_id="msg_1", at=datetime.now(UTC), body="{}")
