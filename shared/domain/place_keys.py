"""The keys of many tasks of one version, with what is known of its scenarios worked out beforehand.

Called by: shared.intake.schema, for every task that comes in. The same as `place_key` of scenario.py, several times as
fast: a property test holds the two together. Pure. Change also: scenario.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.contracts.conditions import Operator
from shared.domain.scenario import Key, group_digest, group_values, holds, layout

GROUPS_KEPT = 2000
Value = Mapping[str, Any]


class PlaceKeys:
    """Makes the keys of tasks of one version."""

    def __init__(self, scenarios: Sequence[Mapping[str, Any]]) -> None:
        """scenarios: as the version has them."""
        self._layout = layout(scenarios)
        self._nobody = str(Key(self._layout, None, ""))
        self._scenarios = [
            ([_test(condition) for condition in one.get("when") or ()], _Groups(self._layout, number, one).key)
            for number, one in enumerate(scenarios)
        ]

    def of(self, value: Value) -> tuple[bool, str]:
        """Whether a scenario takes an input, and the key that its task is stored with."""
        for tests, key in self._scenarios:
            if all(test(value) for test in tests):
                return True, key(value)
        return False, self._nobody


class _Groups:
    """The keys of one scenario's groups; of the last ones that were asked for it remembers them."""

    def __init__(self, layout: str, number: int, scenario: Mapping[str, Any]) -> None:
        self._scenario = scenario
        self._layout, self._number = layout, number
        self._paths: list[str] = list(scenario.get("group_by") or ())
        self._plain = not any("." in path for path in self._paths)
        self._kept: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._alone = self._made({})

    def key(self, value: Value) -> str:
        if not self._paths:
            return self._alone
        # Only texts are remembered: 1, 1.0 and true are equal to Python, and make different groups.
        texts = tuple([value.get(path) for path in self._paths]) if self._plain else (None,)
        if not all(text.__class__ is str for text in texts):
            return self._made(group_values(self._scenario, value))
        found = self._kept.get(texts)  # type: ignore[arg-type]
        if found is None:
            found = self._kept[texts] = self._made(group_values(self._scenario, value))  # type: ignore[index]
            if len(self._kept) > GROUPS_KEPT:
                self._kept.popitem(last=False)
        return found

    def _made(self, values: Mapping[str, Any]) -> str:
        return str(Key(self._layout, self._number, group_digest(values)))


def _test(condition: Mapping[str, Any]) -> Callable[[Value], bool]:
    """`holds` of one condition. Texts that are to be equal to texts are compared at once."""
    op, wanted, path = Operator(condition.get("op", "eq")), condition.get("value"), condition["field"]
    texts = wanted if op is Operator.IN else [wanted] if op is Operator.EQ else None
    if "." not in path and isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        known = frozenset(texts)
        return lambda value: (found := value.get(path)).__class__ is str and found in known
    return lambda value: holds(condition, value)
