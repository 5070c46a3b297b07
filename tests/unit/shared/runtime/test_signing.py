"""Signed requests, against the specification's own library."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from shared.runtime.signing import BadSignature, new_secret, signed_headers, signed_payload, verify

SECRET = new_secret()
methods = st.sampled_from(["GET", "POST", "DELETE"])
targets = st.sampled_from(["/v1/tasks", "/v1/tasks?workflow=a", "/v1/tasks/x", "/v1/files?name=a"])


def headers(payload: str, *, id: str = "msg_1", at: datetime | None = None, secret: str = SECRET) -> dict[str, str]:
    """What a partner sends."""
    moment = at or datetime.now(UTC)
    signature = Webhook(secret).sign(id, moment, payload)
    return {"webhook-id": id, "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signature}


@given(methods, targets, st.binary(max_size=50))
def test_any_request_can_be_signed_with_its_address(method: str, target: str, body: bytes) -> None:
    sent = headers(signed_payload(method, target, body))
    verify(SECRET, signed_headers(sent), method=method, target=target, body=body)


@given(methods, targets, st.binary(max_size=20), methods, targets, st.binary(max_size=20))
def test_a_signature_is_good_for_one_request_only(
    method: str, target: str, body: bytes, method2: str, target2: str, body2: bytes
) -> None:
    sent = headers(signed_payload(method, target, body))
    if (method, target, body) == (method2, target2, body2):
        return
    with pytest.raises(BadSignature):
        verify(SECRET, sent, method=method2, target=target2, body=body2)


def test_a_webhook_as_senders_of_webhooks_make_it() -> None:
    body = b'{"workflow": "tax", "tasks": []}'
    verify(SECRET, headers(body.decode()), method="POST", target="/v1/tasks", body=body)
    with pytest.raises(BadSignature):  # the address would not be covered
        verify(SECRET, headers(body.decode()), method="POST", target="/v1/tasks?workflow=x", body=body)
    with pytest.raises(BadSignature):  # nothing but the id and the time would be signed
        verify(SECRET, headers(""), method="GET", target="/v1/tasks", body=b"")


def test_one_good_signature_of_several_is_enough() -> None:
    payload = signed_payload("GET", "/v1/tasks", b"")
    good, other = headers(payload), headers(payload, secret=new_secret())
    both = {**good, "webhook-signature": f"{other['webhook-signature']} {good['webhook-signature']}"}
    verify(SECRET, both, method="GET", target="/v1/tasks", body=b"")
    with pytest.raises(BadSignature):
        verify(SECRET, other, method="GET", target="/v1/tasks", body=b"")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_time_too_far_away_is_said(minutes: int) -> None:
    payload = signed_payload("GET", "/v1/tasks", b"")
    sent = headers(payload, at=datetime.now(UTC) + timedelta(minutes=minutes))
    with pytest.raises(BadSignature, match="5 minutes"):
        verify(SECRET, sent, method="GET", target="/v1/tasks", body=b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", ""),
        ("webhook-id", "a.b"),
        ("webhook-id", "x" * 256),
        ("webhook-timestamp", ""),
        ("webhook-timestamp", "1e9"),
        ("webhook-timestamp", "nan"),
        ("webhook-signature", ""),
    ],
)
def test_headers_that_are_none(name: str, value: str) -> None:
    sent = headers(signed_payload("GET", "/", b""))
    with pytest.raises(BadSignature):
        signed_headers({**sent, name: value})


@given(st.text(max_size=60))
def test_whatever_stands_for_a_signature_is_refused(text: str) -> None:
    sent = {"webhook-id": "a", "webhook-timestamp": str(int(time.time())), "webhook-signature": text}
    with pytest.raises(BadSignature):
        verify(SECRET, sent, method="GET", target="/", body=b"")
