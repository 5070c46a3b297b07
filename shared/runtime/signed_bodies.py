"""Bodies of signed requests: read as a whole, before anybody knows who sent them.

Called by: auth.py. A key's id is no secret, so anybody can send a body in its name; what such bodies may take of this
process is bounded: bytes in all, bytes in the name of one key, and time. Survives a crash: nothing lives here. Change
also: docs/adr/0020, docs/pushing.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from shared.errors import ErrorCode
from shared.runtime.problems import Problem

SIGNED_BODY_BYTES_MAX = 16 * 1024 * 1024
BYTES_MAX = 128 * 1024 * 1024
"""Of all bodies whose signature is not known yet."""
KEY_BYTES_MAX = 32 * 1024 * 1024
"""Of those in the name of one key: whoever knows its id takes no room from other keys."""
UNUSABLE_BYTES_MAX = 64 * 1024
"""Of one in the name of a key that may not be used: enough to tell its owner why, where the signature is right."""
READ_S = 30.0
READ_BYTES_PER_S = 100_000
"""A body has READ_S, and its size by this."""
RETRY_AFTER_S = 2


class Room:
    """How much of the memory for such bodies is taken. Sizes count as they were declared: they may come any moment."""

    def __init__(self, *, bytes_max: int = BYTES_MAX, key_bytes_max: int = KEY_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._key_bytes_max = key_bytes_max
        self._by_key: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Bytes, of all keys."""
        return self._by_key.total()

    @contextmanager
    def of(self, key: str, size_bytes: int) -> Iterator[None]:
        """Room for a body, until its signature is known. Raises: Problem 429."""
        if size_bytes and (
            self.taken + size_bytes > self._bytes_max or self._by_key[key] + size_bytes > self._key_bytes_max
        ):
            text = f"too many signed bodies are on their way at once; come back in {RETRY_AFTER_S} s, or send a key"
            raise Problem(429, ErrorCode.TOO_MANY, text, headers={"Retry-After": str(RETRY_AFTER_S)})
        self._by_key[key] += size_bytes
        try:
            yield
        finally:
            self._by_key[key] -= size_bytes
            if not self._by_key[key]:
                del self._by_key[key]


def declared_size(request: Request) -> int:
    """The size of a signed request's body in bytes. Raises: Problem 413 when it is too large or is not declared."""
    declared = request.headers.get("content-length", "")
    chunked = "transfer-encoding" in request.headers
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    if chunked or size > SIGNED_BODY_BYTES_MAX:
        text = f"a signed body has a Content-Length of at most {SIGNED_BODY_BYTES_MAX} bytes; send a key instead"
        raise Problem(413, ErrorCode.TOO_LARGE, text)
    return size


async def read_body(request: Request, size_bytes: int) -> bytes:
    """The body; later readers get it again. Raises: Problem 408."""
    within_s = READ_S + size_bytes / READ_BYTES_PER_S
    try:
        async with asyncio.timeout(within_s):
            return await request.body()
    except TimeoutError:
        text = f"a signed body of {size_bytes} bytes has {within_s:.0f} s to come; send a key instead"
        raise Problem(408, ErrorCode.TIMEOUT, text) from None
