"""Texts for people: gettext catalogues, read from .po files when they are first asked for.

Called by: console (pages), delivery (mails). English is the source; a text without a translation stays English.
Survives a crash: nothing. Change also: the .po files beside the callers (tests hold them against the texts).
"""

from __future__ import annotations

import ast
import gettext
import re
from functools import cache
from pathlib import Path

LANGUAGES = {"en": "English", "pt_BR": "Português (Brasil)"}
_LINE = re.compile(r'^(msgid|msgstr)\s+(".*")$')


class Catalogue(gettext.NullTranslations):
    """Translations that were read from a .po file."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def gettext(self, message: str) -> str:
        """The translation, or the text itself."""
        return self.texts.get(message) or message


@cache
def catalogue(path: Path) -> Catalogue:
    """The catalogue in a file; an empty one when there is no such file."""
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
