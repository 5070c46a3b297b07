"""The header Idempotency-Key: what is a key, and what is the same request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.core.idempotency import LENGTH_MAX, BadKey, claim_id, fingerprint, read_key

visible = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=LENGTH_MAX)


def quoted(key: str) -> str:
    """A structured-field string, as RFC 8941 writes it."""
    inner = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


@given(visible)
def test_a_quoted_key_is_read_as_what_was_quoted(key: str) -> None:
    assert read_key([quoted(key)]) == key


@given(visible.filter(lambda key: " " not in key and '"' not in key))
def test_a_bare_key_is_the_same_as_the_quoted_one(key: str) -> None:
    assert read_key([key]) == read_key([quoted(key)]) == key


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ['""'],
        ["a b"],
        ['"a'],
        ['"a"; b=1'],
        ['a"b'],
        ["é"],
        ["a\x00b"],
        ["a", "b"],
        ["x" * (LENGTH_MAX + 1)],
        [quoted("x" * (LENGTH_MAX + 1))],
        ['"\\x"'],
    ],
)
def test_what_is_no_key_is_refused(values: list[str]) -> None:
    with pytest.raises(BadKey):
        read_key(values)


def test_no_header_is_no_key() -> None:
    assert read_key([]) is None


requests = st.tuples(st.sampled_from(["POST", "PUT"]), st.sampled_from(["/a", "/a?b=1", "/"]), st.sampled_from("xyz"))


@given(requests, requests)
def test_requests_are_the_same_when_method_target_and_content_are(
    one: tuple[str, str, str], two: tuple[str, str, str]
) -> None:
    assert (fingerprint(*one) == fingerprint(*two)) == (one == two)


def test_keys_of_different_kinds_and_accounts_never_meet() -> None:
    ids = {claim_id(account, kind, "k") for account in ("a", "b") for kind in ("header", "signed:1")}
    assert len(ids) == 4
