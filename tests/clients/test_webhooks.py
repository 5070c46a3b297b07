"""The client verifies what the Standard Webhooks library signs, and nothing else."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from regente_client import WebhookInvalid, new_secret, verify

NOW_S = 1_800_000_000
SECRET = new_secret()
TASK = {"id": "task_1", "reference": "a", "workflow": "tax", "state": "succeeded", "result": {"protocol": "P-1"}}
BODY = json.dumps({"type": "task.succeeded", "timestamp": "2027-01-15T08:00:00.123Z", "data": TASK}).encode()
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def signed(secret: str = SECRET, body: bytes = BODY, at_s: int = NOW_S) -> dict[str, str]:
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at_s, tz=UTC), body.decode())
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(at_s), "Webhook-Signature": signature}


def test_a_genuine_one_is_read() -> None:
    event = verify(signed(), BODY, SECRET, now_s=NOW_S + 10)
    assert (event.id, event.type) == ("msg_1", "task.succeeded")
    assert event.timestamp == datetime(2027, 1, 15, 8, 0, 0, 123000, tzinfo=UTC)
    assert event.task is not None
    assert (event.task.reference, event.task.result, event.task.is_final) == ("a", {"protocol": "P-1"}, True)


def test_one_of_several_secrets_and_of_several_signatures_is_enough() -> None:
    old, new = signed(), signed(other := new_secret())
    headers = {**old, "Webhook-Signature": f"{new['Webhook-Signature']} v9,x {old['Webhook-Signature']}"}
    assert verify(headers, BODY, SECRET, now_s=NOW_S).id == "msg_1"
    assert verify(old, BODY, [other, SECRET], now_s=NOW_S).id == "msg_1"


def test_ed25519_by_the_public_key() -> None:
    signature = PRIVATE.sign(f"msg_1.{NOW_S}.".encode() + BODY)
    headers = {**signed(), "Webhook-Signature": f"v1a,{base64.b64encode(signature).decode()}"}
    assert verify(headers, BODY, PUBLIC, now_s=NOW_S).id == "msg_1"
    with pytest.raises(WebhookInvalid, match="no signature fits"):
        verify(headers, BODY + b" ", PUBLIC, now_s=NOW_S)
    with pytest.raises(WebhookInvalid, match="public key"):
        verify(headers, BODY, "whpk_x", now_s=NOW_S)


@pytest.mark.parametrize("late_s", [-301, 301])
def test_old_and_future_ones_are_refused(late_s: int) -> None:
    with pytest.raises(WebhookInvalid, match="too old or too new"):
        verify(signed(), BODY, SECRET, now_s=NOW_S + late_s)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_all_three_headers_are_needed(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(WebhookInvalid, match="are needed"):
        verify(headers, BODY, SECRET, now_s=NOW_S)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    body = bytearray(BODY)
    body[place] ^= change
    with pytest.raises(WebhookInvalid):
        verify(signed(), bytes(body), SECRET, now_s=NOW_S)


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()),
       st.binary())  # fmt: skip
def test_nothing_made_up_passes_or_breaks_it(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(WebhookInvalid):
        verify({**signed(), **headers, "webhook-id": "msg_2"}, body, SECRET, now_s=NOW_S)


@pytest.mark.parametrize("content", ["[]", "{}", '"x"', "nothing", '{"type": "task.failed", "data": {"reference": 1}}'])
def test_a_signed_body_that_is_no_event(content: str) -> None:
    body = content.encode()
    with pytest.raises(WebhookInvalid, match="not an event"):
        verify(signed(body=body), body, SECRET, now_s=NOW_S)


def test_events_of_other_kinds_have_no_task() -> None:
    body = b'{"type": "endpoint.test", "timestamp": "2027-01-15T08:00:00Z", "data": {"any": 1}}'
    event: Any = verify(signed(body=body), body, SECRET, now_s=NOW_S)
    assert (event.task, event.data) == (None, {"any": 1})


def test_a_secret_that_is_none_is_told() -> None:
    with pytest.raises(WebhookInvalid, match="secret"):
        verify(signed(), BODY, "whsec_", now_s=NOW_S)
