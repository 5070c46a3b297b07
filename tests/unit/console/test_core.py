"""The journal as people read it, webhook secrets, settings, certificates."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.console.core.certificate import SIZE_BYTES_MAX, read_certificate
from services.console.core.journal import VALUE_TEXT_MAX, view_steps
from services.console.core.settings import change_settings, stored_settings
from services.console.core.webhook_secret import check_secret, encode_secret
from shared.contracts.workflow_file import Settings

AT = datetime(2026, 11, 24, tzinfo=UTC)


def _entry(seq: int, kind: str = "instruction", **fields: Any) -> dict[str, Any]:
    asked = {"instruction": {"name": f"browser.i{seq}", "effect": "act"}} if kind == "instruction" else {}
    return {"seq": seq, "kind": kind, "at": AT, **asked, **fields}


def test_a_reply_belongs_to_the_instruction_it_names_over_a_takeover() -> None:
    reply = {"seq": 1, "outcome": "done", "duration_s": 0.5, "value": "v"}
    first, takeover, second = view_steps([_entry(1), _entry(2, "takeover"), _entry(3, reply=reply)], [])
    assert (first["outcome"], first["value"], first["duration_s"]) == ("done", "v", 0.5)
    assert takeover["outcome"] is None
    assert second["outcome"] is None


def test_a_reply_to_an_instruction_of_the_page_before_is_left_out() -> None:
    (only,) = view_steps([_entry(8, reply={"seq": 7, "outcome": "error"})], [])
    assert only["outcome"] is None


def test_errors_texts_and_long_values() -> None:
    reply = {"seq": 1, "outcome": "error", "error": {"code": "TIMEOUT", "message": "late"}, "value": "x" * 10_000}
    end = _entry(2, "outcome", reply=reply, outcome={"state": "failed", "error": {"message": "late"}})
    first, last = view_steps([_entry(1), end], [])
    assert first["error"] == "TIMEOUT: late"
    assert len(first["value"]) < VALUE_TEXT_MAX + 10
    assert last["text"] == "failed: late"


def test_evidence_stands_at_its_instruction() -> None:
    link = {"_id": "ev_1", "name": "n", "media_type": "image/png", "size_bytes": 1, "sha256": "s", "at": AT}
    first, second = view_steps([_entry(1), _entry(2)], [{**link, "seq": 2}, {**link, "seq": 9}])
    assert (first["evidence"], [one["id"] for one in second["evidence"]]) == ([], ["ev_1"])


@given(st.binary(max_size=80))
def test_secrets_of_the_right_size_come_back(secret: bytes) -> None:
    if 24 <= len(secret) <= 64:
        text = encode_secret(secret)
        assert check_secret(text) == text
        assert base64.b64decode(text.removeprefix("whsec_")) == secret
    else:
        with pytest.raises(ValueError, match="24 to 64"):
            encode_secret(secret)


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!!", "sk_" + "A" * 44, "whsec_" + "A" * 8])
def test_other_texts_are_no_secrets(text: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        check_secret(text)


def test_stored_settings_name_their_unit_and_change_field_by_field() -> None:
    first = stored_settings(Settings.model_validate({"retry": {"attempts": 3, "delay": "5m"}}))
    assert first["retry"] == {"attempts": 3, "position": "end", "in_doubt": "hold", "delay_s": 300.0}
    changed = change_settings(first, {"retry": {"delay_s": 5}, "priority": 4})
    assert changed == {**first, "priority": 4, "retry": {**first["retry"], "delay_s": 5.0}}
    assert change_settings(changed, {}) == changed
    assert (
        change_settings({**first, "price": {"currency": "BRL", "per_dispatch": "0.35"}}, {"price": None})["price"]
        is None
    )
    with pytest.raises(ValidationError):
        change_settings(first, {"retry": {"attempts": 99}})


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match="PKCS#12"):
        read_certificate(data, "pass")


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        read_certificate(b"x" * (SIZE_BYTES_MAX + 1), "")
