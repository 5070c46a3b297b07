"""Which column of a file is probably which field of a workflow's input.

Called by: pages (upload). Pure. A guess is only a beginning: the page shows it and people change it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from services.console.core.form import Form, Kind
from shared.intake.source_settings import Columns

OWN = ("reference", "priority", "not_before", "deadline")
_MAPPABLE = re.compile(r"^[^\x00-\x1f$][^\x00-\x1f]{0,199}$")
_OTHER_NAMES = {
    "reference": ("referencia", "ref"),
    "priority": ("prioridade",),
    "not_before": ("naoantes", "naoantesde"),
    "deadline": ("prazo",),
}
"""What columns are called in Portuguese files, as `_plain` leaves it."""


@dataclass(frozen=True)
class Target:
    """What a column can become."""

    name: str
    """reference, priority, ..; or a field of the input, with dots between levels."""
    label: str
    own: bool
    """Whether it is the task's own and no field of the input."""
    required: bool = False


def targets(form: Form) -> list[Target]:
    """The task's own fields, then the input's."""
    found = [Target(name, name, own=True) for name in OWN]
    if form.whole:
        return found
    for one in form.every():
        if one.kind is Kind.GROUP or "." in one.pointer:
            continue
        name = one.pointer[1:].replace("/", ".").replace("~1", "/").replace("~0", "~")
        if _MAPPABLE.match(name):
            found.append(Target(name, one.label, own=False, required=one.required))
    return found


def guess(columns: Sequence[str], wanted: Sequence[Target]) -> dict[str, str]:
    """Columns by the names of targets: those that are called alike, whatever their case, accents and spaces."""
    free = {_plain(column): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for target in wanted:
        for name in (target.name, target.label, *_OTHER_NAMES.get(target.name, ())):
            column = free.pop(_plain(name), None)
            if column is not None:
                found[target.name] = column
                break
    return found


def mapping_of(chosen: dict[str, str]) -> Columns | None:
    """The mapping for a choice of columns; none when no field of the input has one: then columns go by their names."""
    fields = {name: column for name, column in chosen.items() if name not in OWN}
    if not fields:
        return None
    own = {name: chosen[name] for name in OWN if name in chosen}
    return Columns(input=fields, **own)


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "", letters) or text
