"""The one file in a multipart/form-data body, as it arrives, without a copy on the disk.

Called by: api_files.py. Survives a crash: nothing lives here. Source: RFC 7578. Fields without a file name are passed
over; a second file is refused, since one request is one file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from urllib.parse import unquote

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

HEADER_BYTES_MAX = 8 * 1024


class BadForm(ValueError):
    """The body is no form with one file in it; the text says why."""


class FilePart:
    """Reads a form up to its file, then gives the file's bytes."""

    def __init__(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        """Raises: BadForm."""
        boundary = _parameters("content-type", content_type).get("boundary")
        if not boundary:
            raise BadForm("multipart/form-data needs its boundary in the Content-Type")
        self._stream = stream
        self._headers: dict[str, str] = {}
        self._field, self._value = bytearray(), bytearray()
        self._inside = False
        self._ready: list[bytes] = []
        self._ended = False
        self.name: str | None = None
        self.media_type: str | None = None
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(boundary.encode("latin-1", "replace"), callbacks)  # type: ignore[arg-type]

    async def begin(self) -> None:
        """Read until the file's headers. Raises: BadForm when the form ends before."""
        while self.name is None:
            if not await self._read():
                raise BadForm("the form holds no file; send a part with a filename")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes. Raises: BadForm when the form is broken, cut, or holds a second file."""
        while True:
            ready, self._ready = self._ready, []
            for piece in ready:
                yield piece
            if not await self._read():
                break
        if not self._ended:
            raise BadForm("the form is cut: its last boundary is missing")
        for piece in self._ready:
            yield piece

    async def _read(self) -> bool:
        """Parse the next piece; false at the end."""
        try:
            piece = await anext(self._stream)
        except StopAsyncIteration:
            return False
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise BadForm(f"the form is broken: {error}"[:300]) from error
        return True

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._inside = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._field, data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(self._value, data[start:end])

    def _grow(self, into: bytearray, data: bytes) -> None:
        if len(into) + len(data) > HEADER_BYTES_MAX or len(self._headers) > 20:
            raise BadForm("a part's headers are too long")
        into += data

    def _on_header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._field.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        parameters = _parameters("content-disposition", self._headers.get("content-disposition", ""))
        name = parameters.get("filename")
        if name is None:
            return
        if self.name is not None:
            raise BadForm("the form holds more than one file; send each by itself")
        self.name = unquote(name) if "%" in name else name
        self.media_type = self._headers.get("content-type")
        self._inside = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._ready.append(data[start:end])

    def _on_part_end(self) -> None:
        self._inside = False

    def _on_end(self) -> None:
        self._ended = True


def _parameters(header: str, value: str) -> dict[str, str]:
    """The parameters of a header, such as boundary=..., with RFC 2231's forms read."""
    message = Message()
    message[header] = value.replace("\r", " ").replace("\n", " ")
    found = message.get_params(header=header, unquote=True) or []
    plain: dict[str, str] = {}
    for name, text in found[1:]:
        plain[name.lower()] = collapse_rfc2231_value(text)
    return plain
