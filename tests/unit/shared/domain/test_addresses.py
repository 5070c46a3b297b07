"""Which addresses a script's requests may go to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.addresses import METADATA, BadHost, literal, networks, reached, refusal

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)

REFUSED = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("100.64.0.1", "private"),
    ("169.254.169.254", "metadata"),
    ("169.254.1.1", "link-local"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("192.0.0.192", "metadata"),
    ("192.0.0.8", "reserved"),
    ("192.88.99.1", "reserved"),
    ("198.18.0.1", "reserved"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "reserved"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:7f00:1", "loopback"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a9fe:a9fe", "metadata"),
    ("64:ff9b:1::a00:1", "reserved"),
    ("2002:7f00:1::", "reserved"),
    ("2001::7f00:1", "reserved"),
    ("2a00:1450::5efe:a00:1", "reserved"),
    ("2a00:1450::200:5efe:a00:1", "reserved"),
    ("fe80::1", "link-local"),
    ("fec0::1", "reserved"),
    ("fc00::1", "private"),
    ("fd00:ec2::254", "metadata"),
    ("ff02::1", "multicast"),
    ("2001:db8::1", "reserved"),
    ("4000::1", "reserved"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_nothing_goes_to_what_is_not_public(text: str, why: str) -> None:
    assert refusal(ip_address(text)) == why


@pytest.mark.parametrize("text", ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2a00:1450:4001::1", "64:ff9b::101:101"])
def test_public_addresses_are_called(text: str) -> None:
    assert refusal(ip_address(text)) is None


@given(V4)
def test_an_address_within_another_is_judged_as_itself(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    nat64 = IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))
    assert refusal(address) == refusal(mapped) == refusal(nat64)


@given(st.one_of(V4, V6))
def test_what_the_standard_library_calls_not_global_is_never_called(address: IPv4Address | IPv6Address) -> None:
    if refusal(address) is None:
        assert reached(address).is_global
        assert not reached(address).is_multicast


@given(V4)
def test_an_allowed_network_opens_itself_and_nothing_else(address: IPv4Address) -> None:
    allowed = networks("10.1.0.0/16, 127.0.0.0/8,fd00::/8")
    inside = any(address in network for network in allowed if network.version == 4)
    assert refusal(address, allowed) == (None if inside else refusal(address))


def test_metadata_stays_closed_whatever_is_allowed() -> None:
    everything = networks("0.0.0.0/0, ::/0")
    assert refusal(ip_address("10.0.0.1"), everything) is None
    assert {refusal(address, everything) for address in METADATA} == {"metadata"}


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7F.1", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01", "017700000001",
        "127.0.0.1.", "0x", "1.2.3.4.5", "a.b.1", "256.1.1.1", "fe80::1%eth0", "::ffff:0177.0.0.1", "::g",
    ],
)  # fmt: skip
def test_other_ways_to_write_an_address_are_refused(host: str) -> None:
    with pytest.raises(BadHost):
        literal(host)


@given(st.one_of(V4, V6))
def test_the_usual_way_to_write_an_address_is_read(address: IPv4Address | IPv6Address) -> None:
    assert literal(str(address)) == address


@given(st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,10}){0,3}", fullmatch=True))
def test_names_are_no_addresses(host: str) -> None:
    assert literal(host) is None
