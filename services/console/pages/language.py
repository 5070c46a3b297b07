"""The pages' languages: gettext catalogues, read from their .po files when they are first asked for.

Called by: every page, for every text. English is the source; a text without a translation stays English. Change also:
locale/<language>/console.po (a test holds it against the texts of the pages).
"""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

LANGUAGES = {"en": "English", "pt_BR": "Português (Brasil)"}
_FOLDER = Path(__file__).parent / "locale"
_LINE = re.compile(r'^(msgid|msgstr)\s+(".*")$')


class Catalogue(gettext.NullTranslations):
    """Translations that were read from a .po file."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def gettext(self, message: str) -> str:
        """The translation, or the text itself."""
        return self.texts.get(message) or message


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
    return _catalogue(language if language in LANGUAGES else "en").gettext


@lru_cache(maxsize=len(LANGUAGES))
def _catalogue(language: str) -> Catalogue:
    path = _FOLDER / language / "console.po"
    return Catalogue(parse_po(path.read_text(encoding="utf-8")) if path.exists() else {})


def parse_po(text: str) -> dict[str, str]:
    """The entries of a .po file without plurals and contexts; the header entry is left out.

    Raises: ValueError for a line that is none of these.
    """
    texts: dict[str, str] = {}
    parts: dict[str, str] = {}
    field = ""
    for number, line in enumerate([*text.splitlines(), 'msgid ""'], start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match and match[1] == "msgid" and "msgstr" in parts:
            texts[parts["msgid"]] = parts["msgstr"]
            parts = {}
        if match:
            field = match[1]
            parts[field] = str(ast.literal_eval(match[2]))
        elif line.startswith('"') and field:
            parts[field] += str(ast.literal_eval(line))
        else:
            raise ValueError(f"line {number} of the catalogue can't be read: {line}")
    texts.pop("", None)
    return texts


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
