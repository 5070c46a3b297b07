"""One request to another system: what a failure is, whichever address it comes from."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from shared.domain.addresses import networks
from shared.outbound import Broken, Outbound, Request, tls_context
from shared.outbound.resolver import Resolver


async def test_a_connection_that_breaks_is_told_as_such_also_at_the_first_of_several_addresses() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    def lookup(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outbound = Outbound(Resolver(networks("127.0.0.0/8"), lookup), tls_context())
    with pytest.raises(Broken) as error:
        await outbound.send(Request("POST", httpx.URL(f"http://partner.test:{port}/")), size_bytes_max=100)
    assert (error.value.sent, error.value.timeout) == (True, False)
    outbound.close()
    server.close()
    await server.wait_closed()
