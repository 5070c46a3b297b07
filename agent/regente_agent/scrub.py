"""Keep secrets out of texts: arguments may hold them, and libraries like to quote arguments in their errors.

Called by: engine (error texts, driver's stderr). Survives a crash: nothing; values live in memory for one run.
Change also: PLAIN when an argument is added that can't hold a secret and whose text helps in an error.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Iterator

PLAIN = frozenset(("target", "url", "path", "name", "program", "timeout", "commit", "on"))
"""Arguments that are shown: they are selectors, addresses and names of the script's own."""
SHORTEST = 4
"""Shorter values would blank out half of every text, and are no secrets worth the name."""
REMEMBERED = 500
MASK = "***"


class Scrubber:
    """Remembers the values of a run's arguments and takes them out of texts."""

    def __init__(self) -> None:
        self._values: Deque[str] = deque(maxlen=REMEMBERED)

    def remember(self, args: "dict[str, Any]") -> None:
        """Learn the values of an instruction's arguments."""
        for name, value in args.items():
            if name not in PLAIN:
                for text in _strings(value):
                    if len(text) >= SHORTEST and text not in self._values:
                        self._values.append(text)

    def forget(self) -> None:
        """The run is over."""
        self._values.clear()

    def clean(self, text: str) -> str:
        """The text without any remembered value, longest first so that no rest of one stays."""
        for value in sorted(self._values, key=len, reverse=True):
            if value in text:
                text = text.replace(value, MASK)
        return text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
