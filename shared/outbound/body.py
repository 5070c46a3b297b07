"""The body of an answer, never more of it in memory than is taken.

Called by: exchange.py. Survives a crash: nothing. We ask for `identity`; who sends gzip or deflate all the same is read
with the limit on what comes out, so a small body that unpacks to gigabytes ends at the limit, too."""

from __future__ import annotations

import zlib

import httpx

from shared.outbound.errors import BadBody, TooLarge

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def read_start(response: httpx.Response, size_bytes_max: int) -> tuple[bytes, bool]:
    """The beginning of the body, and whether there is more; what comes after that is not read.

    Raises: BadBody, and what httpx raises when the connection breaks.
    """
    unpack = _unpacker(response.headers.get("content-encoding", "identity"))
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += unpack.some(chunk, size_bytes_max + 1 - len(body)) if unpack else chunk
        if len(body) > size_bytes_max:
            return bytes(body[:size_bytes_max]), True
    return bytes(body), False


async def read_body(response: httpx.Response, size_bytes_max: int) -> bytes:
    """All of the body.

    Raises: TooLarge, BadBody, and what httpx raises when the connection breaks.
    """
    declared = response.headers.get("content-length", "")
    is_number = declared.isascii() and declared.isdigit()
    if is_number and int(declared) > size_bytes_max and response.request.method != "HEAD":
        raise TooLarge(f"the answer has {declared} bytes; at most {size_bytes_max} are taken")
    unpack = _unpacker(response.headers.get("content-encoding", "identity"))
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += unpack.some(chunk, size_bytes_max + 1 - len(body)) if unpack else chunk
        if len(body) > size_bytes_max:
            raise TooLarge(f"the answer has more than {size_bytes_max} bytes")
    if unpack and body and not unpack.ended:
        raise BadBody("the answer ends in the middle of what it packs")
    return bytes(body)


class _Unpacker:
    """Unpacks one stream, at most so much of it."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)

    @property
    def ended(self) -> bool:
        """Whether the packed stream came to its end."""
        return self._stream.eof

    def some(self, chunk: bytes, most: int) -> bytes:
        """What a chunk unpacks to, at most `most` bytes."""
        try:
            return self._stream.decompress(chunk, most)
        except zlib.error as error:
            raise BadBody("the answer is packed wrongly") from error


def _unpacker(encoding: str) -> _Unpacker | None:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in _WINDOW:
        raise BadBody("the answer is packed in a way that was not asked for")
    return _Unpacker(_WINDOW[name])
