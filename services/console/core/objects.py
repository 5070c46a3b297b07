"""Objects of a workflow as people read them: each selector with its counts, and what wants a look.

Called by: store/objects.py. Pure. Change also: services/executor/matches.py, which counts; shared/domain/objects.py has
the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.domain.objects import judge, mark_of, selectors_in


def view_objects(
    objects: Mapping[str, Mapping[str, Any]], environment: str | None, matches: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A view per object of a version, by name. `matches`: documents of `object_matches` of that environment."""
    counted = {(one["object"], one["mark"]): one for one in matches}
    busiest = max((int(one.get("uses", 0)) for one in counted.values()), default=0)
    return [_view(name, objects[name], environment, counted, busiest) for name in sorted(objects)]


def _view(
    name: str,
    definition: Mapping[str, Any],
    environment: str | None,
    counted: Mapping[tuple[str, str], Mapping[str, Any]],
    busiest: int,
) -> dict[str, Any]:
    selectors = selectors_in(definition, environment)
    found = counted.get((name, mark_of(selectors)), {})
    verdict = judge(len(selectors), [one.get("matched") for one in found.get("recent") or ()], busiest=busiest)
    counts, last_at = found.get("counts") or {}, found.get("last_at") or {}
    return {
        "name": name,
        "title": definition.get("title") or "",
        "selectors": [
            {
                "selector": selector,
                "matched": int(counts.get(str(index), 0)),
                "last_at": last_at.get(str(index)),
                "state": verdict.selectors[index].value,
            }
            for index, selector in enumerate(selectors)
        ],
        "overridden": environment in (definition.get("environments") or {}),
        "environments": sorted(definition.get("environments") or {}),
        "uses": int(found.get("uses", 0)),
        "misses": int(found.get("misses", 0)),
        "missed_at": found.get("missed_at"),
        "used_at": found.get("used_at"),
        "stale": verdict.stale,
        "reason": verdict.reason.value if verdict.reason else None,
    }
