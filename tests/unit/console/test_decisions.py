"""Addresses of decisions, the answers that they take, and how much one network address may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.core.address_limit import ADDRESSES_MAX, AddressLimit
from services.console.pages.decision_html import Asked, decision_page
from shared.domain.decision import address_of, id_of, refusal
from shared.obs.clock import now


def test_ids_come_back_from_addresses() -> None:
    id = "run_0123456789abcdef0123456789abcdef/00000012"
    assert id_of(address_of(id)) == id


@pytest.mark.parametrize(
    "address", ["", "run_1", "run_1.12", "run_1/00000012", "a.b.00000001", "run_1.00000001\n", "."]
)
def test_other_addresses_are_none(address: str) -> None:
    assert id_of(address) is None


@pytest.mark.parametrize(
    ("options", "state", "answer", "why"),
    [
        (["yes", "no"], "open", "yes", None),
        (["yes", "no"], "open", "maybe", "one of: yes, no"),
        ([], "open", "anything", None),
        ([], "open", "  ", "not empty"),
        ([], "open", "x" * 1001, "at most 1000"),
        (["yes"], "answered", "yes", "answered already"),
        (["yes"], "expired", "yes", "expired already"),
        (["yes"], "withdrawn", "yes", "withdrawn already"),
    ],
)
def test_what_a_decision_takes(options: list[str], state: str, answer: str, why: str | None) -> None:
    said = refusal({"state": state, "options": options}, answer)
    assert said is None if why is None else why in str(said)


def test_an_address_waits_when_it_asked_too_often() -> None:
    limit = AddressLimit(3, 60.0)
    for second in range(3):
        assert limit.wait_s("a", float(second)) == 0
        limit.count("a", float(second))
    assert limit.wait_s("a", 3.0) == 57.0
    assert limit.wait_s("b", 3.0) == 0
    assert limit.wait_s("a", 60.0) == 0


def test_addresses_remembered_are_bounded() -> None:
    limit = AddressLimit(1, 60.0)
    for number in range(ADDRESSES_MAX + 5):
        limit.count(str(number), 0.0)
    assert limit.wait_s("0", 1.0) == 0
    assert limit.wait_s(str(ADDRESSES_MAX), 1.0) > 0


@given(st.text(), st.text())
def test_what_a_script_asks_never_becomes_markup(question: str, option: str) -> None:
    hostile = question + '<script>alert(1)</script>"'
    at = now()
    decision = {
        "account": "a", "workflow": "w", "question": hostile, "options": [option + '"><img src=x>'],
        "image": None, "due_at": None, "default": None, "state": "open", "asked_at": at,
    }  # fmt: skip
    page = decision_page(Asked("pt_BR", '"><b>', "/d/x.00000001"), decision, at)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>" not in page
