"""Names to addresses that may be called, checked before each connection.

Called by: exchange.py. The addresses that this gives are what is connected to; the name is not looked up again, so an
answer that changes in between (DNS rebinding) changes nothing. Survives a crash: nothing. Threads of its own: the
system's resolver blocks, and slow names must not keep the event loop's other threads busy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

from shared.domain.addresses import BadHost, Network, literal, refusal
from shared.outbound.errors import Refused

LOOKUPS_AT_ONCE = 8
ADDRESSES_MAX = 4
"""So many addresses of a name are tried."""

Lookup = Callable[..., list[tuple[Any, ...]]]


class Resolver:
    """Looks names up."""

    def __init__(self, allowed: Sequence[Network] = (), lookup: Lookup = socket.getaddrinfo) -> None:
        self._allowed = tuple(allowed)
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="resolve")

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses to connect to, in the system's order; `host` is ASCII, an IPv6 address without brackets.

        Raises: Refused NOT_FOUND, NOT_ALLOWED (when only one of them is not allowed, too), BAD_ARGUMENT.
        """
        try:
            address = literal(host)
        except BadHost as error:
            raise Refused("BAD_ARGUMENT", str(error)) from error
        found = [address] if address is not None else [ip_address(one) for one in await self._ask(host, port)]
        for one in found:
            why = refusal(one, self._allowed)
            if why is not None:
                raise Refused("NOT_ALLOWED", f"{host} is a {why} address; requests go to public ones only")
        return [str(one) for one in found[:ADDRESSES_MAX]]

    async def _ask(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, lambda: self._lookup(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            raise Refused("NOT_FOUND", f"there is no address for {host}") from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        if not addresses or any("%" in one for one in addresses):
            raise Refused("NOT_FOUND", f"there is no usable address for {host}")
        return addresses

    def close(self) -> None:
        """Let the threads go; lookups under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)
