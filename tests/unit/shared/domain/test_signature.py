"""Signatures, verified as a partner does it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shared.domain.endpoint import key_pair, secret_text
from shared.domain.signature import headers

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


def verify_v1a(public: str, sent: dict[str, str], body: str) -> None:
    """As the specification says it, without our code. Raises: InvalidSignature."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.{body}".encode()
    for one in sent["webhook-signature"].split(" "):
        version, _, signature = one.partition(",")
        if version == "v1a":
            try:
                return key.verify(base64.b64decode(signature), signed)
            except InvalidSignature:
                continue
    raise InvalidSignature


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=2, unique=True), st.text(max_size=30))
def test_ed25519_signatures_of_both_keys_verify_beside_hmac(seeds: list[bytes], body: str) -> None:
    pairs, secret = [key_pair(seed) for seed in seeds], secret_text(b"x" * 24)
    body = json.dumps(body)
    sent = headers([secret], [private for private, _ in pairs], webhook_id="msg_1", at=datetime.now(UTC), body=body)
    for _, public in pairs:
        verify_v1a(public, sent, body)
        with pytest.raises(InvalidSignature):
            verify_v1a(public, sent, body + " ")
    assert Webhook(secret).verify(body, sent) == json.loads(body)


def test_keys_alone_sign_too() -> None:
    private, public = key_pair(b"k" * 32)
    sent = headers([], [private], webhook_id="msg_1", at=datetime.now(UTC), body="{}")
    assert sent["webhook-signature"].startswith("v1a,")
    verify_v1a(public, sent, "{}")
