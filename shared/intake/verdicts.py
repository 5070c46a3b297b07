"""Who a reference belongs to: what is answered for each item once the database has spoken.

Called by: the collector's intake, the console's preview. The rule: (account, workflow, reference) names one task for
ever. Whoever inserted first stands; every item with that reference and the same input is that task, every other one is
refused. So a repeated push, two pushes at once, and a push whose insert was answered ambiguously all get the same
answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.intake.items import Item, Refused
from shared.intake.schema import Complaint

DETAILED_MAX = 1000
"""Refused items whose every error is told; the others get the first one only."""


@dataclass(frozen=True)
class Standing:
    """The task that stands under a reference."""

    id: str
    digest: str
    batch: str | None = None
    """The push that made it; none when only its tombstone is left."""


@dataclass
class Verdicts:
    """The answer to a push, in the order of its items."""

    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """Accepted items that were tasks before."""
        return sum(1 for entry in self.accepted if entry["duplicate"])

    def add(self, more: Verdicts) -> None:
        """Go on with the answer to the items after these."""
        self.accepted += more.accepted
        self.refused += more.refused

    def rejected(self) -> list[dict[str, Any]]:
        """The refused items as they stand in the answer."""
        return [
            {
                "index": item.index,
                "reference": item.reference,
                "errors": [c.as_json() for c in (item.complaints if n < DETAILED_MAX else item.complaints[:1])],
            }
            for n, item in enumerate(self.refused)
        ]


def candidates(items: Iterable[Item]) -> list[Item]:
    """The items to insert: the first of each reference."""
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.reference, item)
    return list(first.values())


def decide(
    items: Iterable[Item], refused: Iterable[Refused], *, standing: Mapping[str, Standing], mine: Mapping[str, int]
) -> Verdicts:
    """Answer every item.

    standing: the task of each reference that has one, as read after the insert. mine: ids that this push gave, with
    the index of the item each was given to.
    """
    accepted: list[tuple[int, dict[str, Any]]] = []
    rejected: list[Refused] = []
    for item in items:
        task = standing[item.reference]
        if task.digest == item.digest:
            accepted.append((item.index, _entry(item.index, item.reference, task, mine)))
        else:
            rejected.append(conflict(item))
    for bad in refused:
        task_before = standing.get(bad.reference) if bad.reference is not None else None
        if (
            bad.reference is not None
            and task_before
            and task_before.id not in mine
            and task_before.digest == bad.digest
        ):
            accepted.append((bad.index, _entry(bad.index, bad.reference, task_before, mine)))
        else:
            rejected.append(bad)
    accepted.sort(key=lambda pair: pair[0])
    return Verdicts([entry for _, entry in accepted], sorted(rejected, key=lambda item: item.index))


def conflict(item: Item) -> Refused:
    """The refusal of an item whose reference is another task's."""
    text = "this reference belongs to a task with another input; a reference names one task for ever"
    return Refused(item.index, item.reference, [Complaint("REFERENCE_CONFLICT", text, "/reference")], item.digest)


def _entry(index: int, reference: str, task: Standing, mine: Mapping[str, int]) -> dict[str, Any]:
    return {"index": index, "reference": reference, "id": task.id, "duplicate": mine.get(task.id) != index}
