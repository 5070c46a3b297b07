"""Which addresses requests to other systems may go to: public ones, and networks that the installation allows.

Called by: shared/outbound/resolver.py, for every address right before it is connected to. Own tables, because
what the standard library calls private changes with its version. Sources: the IANA registries of special-purpose
addresses (RFC 6890 and its updates); RFC 4291 (IPv4-mapped), RFC 6052 (NAT64); clouds' manuals (metadata).

Not covered: a prefix of its own that a network uses for NAT64 (RFC 6052, 2.2) can't be told from other addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA = frozenset(
    ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Where clouds tell a machine its own keys; not even an allowed network opens these."""
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_PUBLIC_6 = IPv6Network("2000::/3")
_SPECIAL: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(text), kind)
    for text, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "private"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "reserved"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "reserved"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "reserved"),
    )
)
_NUMERIC = re.compile(r"^(0[xX][0-9a-fA-F]*|[0-9]+)$")


class BadHost(Exception):
    """A host that is written so that programs disagree on what it is."""


def networks(text: str) -> tuple[Network, ...]:
    """Networks by comma, such as 10.1.0.0/16, fd00::/8.

    Raises: ValueError.
    """
    return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())


def literal(host: str) -> Address | None:
    """The address that a URL's host is, without brackets; none when it is a name.

    What ends in a number is an address (https://url.spec.whatwg.org/#ends-in-a-number-checker), but only the usual
    form is taken: resolvers also read 127.1, 2130706433, 0x7f.1 and 0177.0.0.1.
    Raises: BadHost.
    """
    if ":" in host:
        if "%" in host:
            raise BadHost("addresses with a zone are not allowed")
        try:
            return IPv6Address(host)
        except ValueError as error:
            raise BadHost("the host is no IPv6 address") from error
    labels = host.rstrip(".").split(".")
    if not _NUMERIC.match(labels[-1]):
        return None
    try:
        return IPv4Address(host)
    except ValueError as error:
        raise BadHost("an IPv4 address is written as four decimal numbers without leading zeros") from error


def refusal(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why nothing may be sent there: metadata, loopback, private, link-local ..; none when it may."""
    target = reached(address)
    if target in METADATA:
        return "metadata"
    if any(target in network for network in allowed if network.version == target.version):
        return None
    for network, kind in _SPECIAL:
        if network.version == target.version and target in network:
            return kind
    if isinstance(target, IPv6Address) and (target not in _PUBLIC_6 or _is_isatap(target)):
        return "reserved"
    return None


def reached(address: Address) -> Address:
    """The machine that an address leads to: IPv4 within IPv6 where the network (or the kernel) takes it out again."""
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_isatap(address: IPv6Address) -> bool:
    """An IPv4 address in the lower half behind 5efe (RFC 5214)."""
    return (int(address) >> 32) & 0xFCFFFFFF == 0x00005EFE
