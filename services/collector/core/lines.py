"""Newline-delimited JSON as it arrives: pieces of any size in, whole lines out, with bounded memory.

Called by: streaming.py. Blank lines are counted and dropped. A line over the limit comes out without its bytes, so that
it can be refused by its number, and the rest of it is thrown away as it arrives. Pure. Source: the NDJSON
specification (https://github.com/ndjson/ndjson-spec): lines end in \\n, perhaps after \\r, the last one may go without.
"""

from __future__ import annotations

from dataclasses import dataclass

LINE_SIZE_BYTES_MAX = 4 * 1024 * 1024
"""An input of 1 MiB, written with every character escaped, and the fields around it."""


@dataclass(frozen=True)
class Line:
    """A line that isn't blank."""

    number: int
    """From 1, as editors count."""
    data: bytes | None
    """None: it was too long."""


class Lines:
    """Cuts a stream into lines."""

    def __init__(self, size_bytes_max: int = LINE_SIZE_BYTES_MAX) -> None:
        self._size_max = size_bytes_max
        self._rest = bytearray()
        self._too_long = False
        self._number = 1

    def feed(self, data: bytes) -> list[Line]:
        """The lines that end within `data`, in order."""
        found: list[Line] = []
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._extend(part)
            found += self._end()
        self._extend(rest)
        return found

    def end(self) -> list[Line]:
        """The last line, when the stream did not end in a newline."""
        return self._end()

    def _extend(self, part: bytes) -> None:
        if self._too_long:
            return
        if len(self._rest) + len(part) > self._size_max:
            self._too_long = True
            self._rest.clear()
        else:
            self._rest += part

    def _end(self) -> list[Line]:
        data = None if self._too_long else bytes(self._rest).strip(b" \t\r")
        line = Line(self._number, data)
        self._rest.clear()
        self._too_long = False
        self._number += 1
        return [] if data == b"" else [line]
