"""Texts and JSON with places for values: {cursor}, {reference}, {due}.

Called by: source_settings.py (checks them when a source is saved), collector (fills them). Pure. A place is a known
name in braces; other braces stay as they are, so JSON needs no escaping. A text that is nothing but one place becomes
the value itself, with its type. What is filled in is never looked at again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

_PLACE = re.compile(r"\{([a-z][a-z_0-9]*)\}")


class BadTemplate(ValueError):
    """It names something that there is not."""


def names_in(template: Any) -> set[str]:
    """The places of a template."""
    if isinstance(template, str):
        return set(_PLACE.findall(template))
    inner = template.values() if isinstance(template, Mapping) else template if isinstance(template, list) else ()
    return {name for one in inner for name in names_in(one)}


def check(template: Any, known: Collection[str]) -> None:
    """Raises: BadTemplate for a place that nothing is known to fill."""
    unknown = sorted(names_in(template) - set(known))
    if unknown:
        raise BadTemplate(
            f"{{{unknown[0]}}} is not known here; there are {', '.join(f'{{{one}}}' for one in sorted(known))}"
        )


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with its values; a place without one stays as it is."""
    if isinstance(template, str):
        whole = _PLACE.fullmatch(template)
        if whole and whole[1] in values:
            return values[whole[1]]
        return _PLACE.sub(lambda place: text_of(values[place[1]]) if place[1] in values else place[0], template)
    if isinstance(template, Mapping):
        return {name: fill(one, values) for name, one in template.items()}
    return [fill(one, values) for one in template] if isinstance(template, list) else template


def fill_url(template: str, values: Mapping[str, Any]) -> str:
    """A URL with its values; each stays within its part of the path or query, whatever characters it has."""
    return _PLACE.sub(
        lambda place: quote(text_of(values[place[1]]), safe="") if place[1] in values else place[0], template
    )


def text_of(value: Any) -> str:
    """A value within a text: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
