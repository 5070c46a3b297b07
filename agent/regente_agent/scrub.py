"""Keep secrets out of texts: arguments may hold them, and libraries like to quote arguments in their errors.

Called by: engine and reply (error texts, contexts of failures, driver's stderr), drivers (addresses). Survives a crash:
nothing; values live in memory for one run.
Change also: PLAIN when an argument is added that can't hold a secret and whose text helps in an error.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Deque, Iterator
from urllib.parse import quote, quote_plus, urlsplit

PLAIN = frozenset(("target", "url", "path", "name", "program", "timeout", "commit", "on"))
"""Arguments that are shown: they are selectors, addresses and names of the script's own."""
SHORTEST = 4
"""Shorter values would blank out half of every text, and are no secrets worth the name."""
REMEMBERED = 500
URL_CHARS_MAX = 2000
MASK = "***"
_VALUE = re.compile(r"(;[^=;/]*)=[^;/]*")
"""Parameters within a path, such as ;jsessionid=1."""


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
        """The text without any remembered value, also as it stands in addresses; longest first, so that no rest of one
        stays."""
        for value in sorted(self._values, key=len, reverse=True):
            for form in (value, quote(value, safe=""), quote(value), quote_plus(value)):
                if form in text:
                    text = text.replace(form, MASK)
        return text

    def clean_all(self, value: Any, chars_max: int) -> Any:
        """A JSON value with all its texts cleaned, and only then cut."""
        if isinstance(value, str):
            return self.clean(value)[:chars_max]
        if isinstance(value, list):
            return [self.clean_all(inner, chars_max) for inner in value]
        if isinstance(value, dict):
            return {str(name): self.clean_all(inner, chars_max) for name, inner in value.items()}
        return value


def bare_url(url: str) -> str:
    """An address without what may be a secret: user and password, values of parameters, what stands behind the #.

    Names of parameters stay, because they tell pages apart; of a data: address only its kind does.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an address that can't be read)"
    if parts.scheme not in ("http", "https", "file"):
        return f"{parts.scheme}:{parts.path.split(',')[0]}"[:URL_CHARS_MAX] if parts.scheme else ""
    path = _VALUE.sub(rf"\1={MASK}", parts.path)
    names = [one.split("=")[0] for one in re.split("[&;]", parts.query) if one]
    query = "?" + "&".join(f"{name}={MASK}" for name in names) if names else ""
    return f"{parts.scheme}://{host}{port}{path}{query}"[:URL_CHARS_MAX]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
