"""The pages' languages: gettext catalogues, read from their .po files when they are first asked for.

Called by: every page, for every text. English is the source; a text without a translation stays English. Change also:
locale/<language>/console.po (a test holds it against the texts of the pages).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.texts import LANGUAGES, catalogue, parse_po

__all__ = ["LANGUAGES", "choose_language", "parse_po", "translate"]

_FOLDER = Path(__file__).parent / "locale"


def choose_language(chosen: str | None, accept_language: str | None) -> str:
    """The language to use: what the user chose, else the first one of the browser's that there is."""
    if chosen in LANGUAGES:
        return str(chosen)
    for wanted in _accepted(accept_language or ""):
        if wanted.startswith("pt"):
            return "pt_BR"
        if wanted.startswith("en"):
            return "en"
    return "en"


def translate(language: str) -> Callable[[str], str]:
    """The function `_` of a language."""
    return catalogue(_FOLDER / (language if language in LANGUAGES else "en") / "console.po").gettext


def _accepted(header: str) -> list[str]:
    """Language tags of an Accept-Language header, the most wanted first."""
    wanted: list[tuple[float, str]] = []
    for part in header.split(",")[:20]:
        tag, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), tag.strip().lower()))
        except ValueError:
            continue
    return [tag for _, tag in sorted(wanted, key=lambda one: one[0])]
