"""The journal as people read it, webhook secrets, settings, certificates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.console.api.settings_change import SettingsChange
from services.console.core.certificate import SIZE_BYTES_MAX, read_certificate
from services.console.core.journal import VALUE_TEXT_MAX, view_steps
from services.console.core.settings import (
    account_settings,
    change_account_settings,
    change_settings,
    stored_settings,
)
from shared.contracts.settings_file import Settings

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


_parts = {
    "retry": st.fixed_dictionaries({}, optional={"attempts": st.integers(1, 20), "delay": st.floats(0, 1000)}),
    "concurrency": st.fixed_dictionaries({}, optional={"runs": st.none() | st.integers(1, 9), "group": st.none()}),
    "breaker": st.fixed_dictionaries({}, optional={"failures": st.none() | st.integers(1, 9)}),
}
_changes = st.fixed_dictionaries(
    {},
    optional={
        **_parts,
        "priority": st.integers(0, 5),
        "aging": st.none() | st.fixed_dictionaries({"every": st.floats(1, 1000)}),
        "tags": st.lists(st.sampled_from(["sap", "citrix"]), max_size=2),
    },
)


@given(st.lists(_changes, max_size=4))
def test_changes_one_after_the_other_are_all_of_them_at_once(changes: list[dict[str, Any]]) -> None:
    """The slow way: keep the words of workflow.yaml, lay each change over them, and store once."""
    words: dict[str, Any] = {}
    stored = stored_settings(Settings())
    for change in changes:
        stored = change_settings(stored, change)
        for name, value in change.items():
            words[name] = {**words.get(name, {}), **value} if name in _parts else value
    assert stored == stored_settings(Settings.model_validate(words))
    assert change_settings(stored, stored) == stored


def test_what_a_change_may_not_leave_out() -> None:
    first = stored_settings(Settings.model_validate({"aging": {"every": "1h"}}))
    assert first["aging"] == {"every_s": 3600.0}
    assert change_settings(first, {"priority": 2})["aging"] == {"every_s": 3600.0}
    assert change_settings(first, {"aging": None})["aging"] is None
    older = {name: value for name, value in first.items() if name in ("priority", "retry", "price")}
    assert change_settings(older, {})["breaker"] == {"failures": 5, "login_rejected": True}
    for change in ({"retry": None}, {"concurrency": {"run": 1}}, {"priority": None}):
        with pytest.raises(ValidationError):
            change_settings(first, change)


def test_an_account_without_settings_has_the_defaults() -> None:
    defaults = {"timezone": "UTC", "limits": [], "runs": None, "weight": None, "environment": None, "retention": None}
    assert account_settings(None) == defaults
    changed = change_account_settings({"runs": 3}, {"limits": [{"per": "day", "max": 5}]})
    assert (changed["runs"], changed["limits"][0]["warn_at"]) == (3, [80])
    assert change_account_settings(changed, {"runs": None})["runs"] is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_refused_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match="PKCS#12"):
        read_certificate(data, "pass")


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        read_certificate(b"x" * (SIZE_BYTES_MAX + 1), "")


def test_every_setting_can_be_changed_later() -> None:
    """Learned waits could once be set in a workflow's file only."""
    assert set(SettingsChange.model_fields) == set(Settings.model_fields)
