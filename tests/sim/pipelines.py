"""Expressions, updates by pipeline, and the aggregations that this program uses. Pure.

Called by: changing.py, server.py, values.py ($expr, computed fields). Anything else raises Unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.obs.clock import now
from tests.sim.values import MISSING, NULL, NUMBER, Document, Unsupported, compiled, order, sorted_by


def value_of(expression: Any, document: Mapping[str, Any]) -> Any:
    """What an expression is for a document; MISSING for a field that is not there."""
    if isinstance(expression, str):
        return _named(expression, document) if expression.startswith("$") else expression
    if isinstance(expression, Mapping):
        name = next(iter(expression), "")
        if name.startswith("$"):
            if len(expression) != 1:
                raise Unsupported(f"an expression with {list(expression)}")
            return _called(name, expression[name], document)
        found = {key: value_of(one, document) for key, one in expression.items()}
        return {key: one for key, one in found.items() if one is not MISSING}
    if isinstance(expression, list | tuple):
        return [None if (one := value_of(each, document)) is MISSING else one for each in expression]
    return expression


def _named(expression: str, document: Mapping[str, Any]) -> Any:
    if expression == "$$NOW":
        return now()
    if expression.startswith("$$"):
        raise Unsupported(f"variable {expression}")
    value: Any = document
    for name in expression[1:].split("."):
        if isinstance(value, list):
            raise Unsupported(f"{expression} through an array")
        if not isinstance(value, Mapping) or name not in value:
            return MISSING
        value = value[name]
    return value


def _called(name: str, argument: Any, document: Mapping[str, Any]) -> Any:
    if name not in _FUNCTIONS:
        raise Unsupported(f"expression {name}")
    given = argument if isinstance(argument, list | tuple) else [argument]
    return _FUNCTIONS[name]([value_of(one, document) for one in given])


def _none(value: Any) -> bool:
    return value is None or value is MISSING


def _numbers(function: Callable[[Any, Any], Any]) -> Callable[[list[Any]], Any]:
    """A function of numbers, nothing when one of them is nothing."""

    def call(values: list[Any]) -> Any:
        if any(_none(one) for one in values):
            return None
        found = values[0]
        for one in values[1:]:
            found = function(found, one)
        return found

    return call


def _add(one: Any, two: Any) -> Any:
    if isinstance(one, datetime):
        return one + timedelta(milliseconds=round(two))
    if isinstance(two, datetime):
        return two + timedelta(milliseconds=round(one))
    return one + two


def _subtract(one: Any, two: Any) -> Any:
    if isinstance(one, datetime) or isinstance(two, datetime):
        raise Unsupported("subtracting dates")
    return one - two


def _divide(one: Any, two: Any) -> Any:
    return float(one) / two


def _if_null(values: list[Any]) -> Any:
    return next((one for one in values[:-1] if not _none(one)), values[-1])


def _extreme(pick: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    def call(values: list[Any]) -> Any:
        there = [one for one in values if not _none(one)]
        return pick(there, key=order) if there else None

    return call


def _concat(values: list[Any]) -> Any:
    return None if any(_none(one) for one in values) else [each for one in values for each in one]


def _slice(values: list[Any]) -> Any:
    array, count = values
    if _none(array):
        return None
    return array[:count] if count >= 0 else array[count:]


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[list[Any]], Any]:
    """In expressions all types compare, and a missing field is less than everything."""

    def key(value: Any) -> tuple[Any, ...]:
        return (0,) if value is MISSING else order(value)

    return lambda values: test(key(values[0]), key(values[1]))


_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "$add": _numbers(_add),
    "$subtract": _numbers(_subtract),
    "$multiply": _numbers(lambda one, two: one * two),
    "$divide": _numbers(_divide),
    "$pow": _numbers(lambda one, two: one**two),
    "$toLong": lambda values: None if _none(values[0]) else int(values[0]),
    "$or": lambda values: any(not _none(one) and one is not False and one != 0 for one in values),
    "$and": lambda values: all(not _none(one) and one is not False and one != 0 for one in values),
    "$ifNull": _if_null,
    "$max": _extreme(max),
    "$min": _extreme(min),
    "$concatArrays": _concat,
    "$slice": _slice,
    "$eq": _compared(lambda one, two: one == two),
    "$ne": _compared(lambda one, two: one != two),
    "$gt": _compared(lambda one, two: one > two),
    "$gte": _compared(lambda one, two: one >= two),
    "$lt": _compared(lambda one, two: one < two),
    "$lte": _compared(lambda one, two: one <= two),
}


# updates by pipeline


def updated_by(document: Document, stages: Sequence[Mapping[str, Any]]) -> None:
    """Change a document by the stages of an update."""
    for stage in stages:
        ((name, argument),) = stage.items()
        if name == "$set":
            found = {key: value_of(one, document) for key, one in argument.items()}
            for key, value in found.items():
                _set(document, key, value, argument[key])
        elif name == "$unset":
            for key in [argument] if isinstance(argument, str) else argument:
                if "." in key:
                    raise Unsupported(f"$unset of {key} in a pipeline")
                document.pop(key, None)
        else:
            raise Unsupported(f"stage {name} of an update")


def _set(document: Document, name: str, value: Any, expression: Any) -> None:
    if "." in name:
        raise Unsupported(f"$set of {name} in a pipeline")
    if value is MISSING:
        document.pop(name, None)
        return
    below = document.get(name)
    written_out = isinstance(expression, Mapping) and not next(iter(expression), "").startswith("$")
    if written_out and isinstance(below, list):
        raise Unsupported("$set of an object over an array")
    # an object that is written out is merged with the one that is there
    document[name] = {**below, **value} if written_out and isinstance(below, dict) else value


# aggregation


def aggregated(documents: list[Document], stages: Sequence[Mapping[str, Any]]) -> list[Document]:
    """What a pipeline makes of documents."""
    for stage in stages:
        ((name, argument),) = stage.items()
        if name == "$match":
            test = compiled(argument)
            documents = [one for one in documents if test(one)]
        elif name == "$sort":
            documents = sorted_by(documents, list(argument.items()))
        elif name == "$limit":
            documents = documents[:argument]
        elif name == "$group":
            documents = _grouped(documents, argument)
        else:
            raise Unsupported(f"stage {name}")
    return documents


def _grouped(documents: list[Document], stage: Mapping[str, Any]) -> list[Document]:
    groups: dict[tuple[Any, ...], tuple[Any, list[Document]]] = {}
    for one in documents:
        key = value_of(stage["_id"], one)
        key = None if key is MISSING else key
        groups.setdefault(order(key), (key, []))[1].append(one)
    fields = {name: one for name, one in stage.items() if name != "_id"}
    return [
        {"_id": key, **{name: _accumulated(one, members) for name, one in fields.items()}}
        for key, members in groups.values()
    ]


def _accumulated(accumulator: Mapping[str, Any], members: list[Document]) -> Any:
    ((name, expression),) = accumulator.items()
    if name == "$first":
        found = value_of(expression, members[0])
        return None if found is MISSING else found
    if name == "$sum":
        values = [value_of(expression, one) for one in members]
        return sum(one for one in values if order(one)[0] == NUMBER)
    raise Unsupported(f"accumulator {name}")


__all__ = ["NULL", "aggregated", "updated_by", "value_of"]
