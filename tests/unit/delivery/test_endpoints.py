"""Addresses, secrets and replays as partners and people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.endpoints import secret_problem, secret_text, url_problem
from services.delivery.core.replay import replay_query


@given(st.binary(max_size=100))
def test_a_secret_has_24_to_64_bytes(data: bytes) -> None:
    assert (secret_problem(secret_text(data)) is None) == (24 <= len(data) <= 64)


@given(st.text(max_size=60))
def test_what_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    problem = secret_problem(f"whsec_{text}!")
    assert problem is not None
    assert len(text) < 8 or text not in problem


@pytest.mark.parametrize("url", ["https://a.example/hook", "http://127.0.0.1:9000/x?y=1", "https://[::1]:8443/"])
def test_addresses_that_can_be_posted_to(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "", "a.example", "ftp://a.example/", "https://", "https:///x", "https://u:p@a.example/", "https://a.example/#x",
        "https://a.example:99999/", "https://a.example:0/", "https://a .example/", "https://[::1/", "https://ä.example/",
        "https://a.example/\n", "https://a.example/" + "x" * 2000,
    ],
)  # fmt: skip
def test_addresses_that_can_not(url: str) -> None:
    assert url_problem(url)


@given(st.text(max_size=80))
def test_any_text_is_judged(url: str) -> None:
    assert url_problem(url) is None or url_problem(url)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"ids": ["a", "b"]}, {"_id": {"$in": ["a", "b"]}}),
        ({"endpoint": "acme/hook"}, {"account": "acme", "endpoint": "hook"}),
        ({"state": "dead", "account": "acme", "endpoint": "hook"}, {"account": "acme", "endpoint": "hook"}),
        ({"endpoint": "hook"}, None),
        ({"endpoint": "/hook"}, None),
        ({"endpoint": "acme/"}, None),
        ({"ids": []}, None),
        ({"ids": [1], "account": "acme", "endpoint": "hook"}, None),
        ({"ids": "a"}, None),
        ({}, None),
    ],
)
def test_a_replay_names_ids_or_one_endpoint(args: dict[str, object], expected: dict[str, object] | None) -> None:
    assert replay_query(args) == expected
