"""Whose address a request comes from: only named proxies are believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.addresses import networks
from shared.domain.client import client_address, within

PROXIES = networks("10.0.0.0/8, fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::7]:443"], "2001:db8::7"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_hops_are_read_from_the_right_as_far_as_they_are_believed(peer: str, forwarded: list[str], client: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == client


addresses = st.sampled_from(["10.0.0.1", "10.9.9.9", "203.0.113.9", "198.51.100.1", "fd00::2", "2001:db8::1", "x", ""])


@given(st.lists(addresses, max_size=8), st.sampled_from(["203.0.113.200", "2001:db8:1::1"]))
def test_what_a_stranger_writes_counts_for_nothing(written: list[str], stranger: str) -> None:
    """A stranger calls a proxy of ours, which appends the stranger's address."""
    assert client_address("10.0.0.1", [", ".join([*written, stranger])], PROXIES) == stranger
    assert client_address(stranger, written, PROXIES) == stranger


def test_an_address_lies_in_a_network_however_it_is_written() -> None:
    assert within("::ffff:203.0.113.9", networks("203.0.113.0/24"))
    assert not within("203.0.114.9", networks("203.0.113.0/24, ::/0"))
    assert not within("nonsense", networks("0.0.0.0/0"))
