"""Who is at the other end of a request, when there are proxies in between.

Called by: shared/runtime/http.py, for every request. Pure. X-Forwarded-For is a list that every proxy appends the
address to that it was called from; anybody can write into it what they like, so it is read from the right, and only as
far as each hop is a proxy that the installation names.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from shared.domain.addresses import Address, Network, reached

HOPS_MAX = 20


def client_address(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address of the client, as text.

    peer: who is connected. forwarded: values of X-Forwarded-For in the order in which they came. proxies: those that
    are believed.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",")][-HOPS_MAX:]
    client = peer
    while hops and within(client, proxies):
        before = _address(hops.pop())
        if before is None:  # whoever wrote that is the last one that is known
            break
        client = str(before)
    return client


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks; false for what is no address."""
    found = _address(address)
    return found is not None and any(found in one for one in networks if one.version == found.version)


def _address(text: str) -> Address | None:
    """An address, without a port or brackets around it."""
    bare = text.rsplit(":", 1)[0] if text.count(":") == 1 else text.split("]")[0].lstrip("[")
    try:
        return reached(ip_address(bare))
    except ValueError:
        return None
