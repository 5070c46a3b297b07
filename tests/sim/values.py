"""Documents as MongoDB sees them: the order of values, paths through arrays, filters, projections. Pure.

Called by: server.py, changing.py, pipelines.py. Only what this program's queries use; anything else raises
Unsupported, so that a new query is either modelled here or noticed. test_database.py holds it against a real server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

Document = dict[str, Any]
MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING"})()
NULL, NUMBER, STRING, OBJECT, ARRAY, BINARY, OBJECT_ID, BOOLEAN, DATE = 1, 2, 3, 4, 5, 6, 7, 8, 9
TYPES = {"string": STRING, "object": OBJECT, "array": ARRAY, "bool": BOOLEAN, "date": DATE, "null": NULL}


class Unsupported(Exception):
    """The double does not know this; model it (and its test), or do without."""


def order(value: Any) -> tuple[Any, ...]:
    """A value as something that compares as MongoDB compares: by type first."""
    kind = type(value)
    if kind is str:
        return (STRING, value)
    if value is None or value is MISSING:
        return (NULL,)
    if kind is bool:
        return (BOOLEAN, value)
    if isinstance(value, int | float):
        return (NUMBER, value)
    if isinstance(value, datetime):
        return (DATE, value)
    if isinstance(value, str):
        return (STRING, str(value))
    if isinstance(value, dict):
        return (OBJECT, *((order(one)[0], name, order(one)) for name, one in value.items()))
    if isinstance(value, list | tuple):
        return (ARRAY, *(order(one) for one in value))
    if isinstance(value, bytes):
        return (BINARY, len(value), value)
    if isinstance(value, ObjectId):
        return (OBJECT_ID, value.binary)
    raise Unsupported(f"a value of type {kind.__name__}")


def same(one: Any, two: Any) -> bool:
    """Whether two values are equal to MongoDB."""
    if type(one) is str and type(two) is str:
        return one == two
    return order(one) == order(two)


def values_at(document: Any, path: Sequence[str]) -> Iterator[Any]:
    """What stands at a path, for a filter: every element of arrays on the way; MISSING where there is nothing."""
    for n, name in enumerate(path):
        if isinstance(document, list):
            for one in document:
                if isinstance(one, dict):
                    yield from values_at(one, path[n:])
            return
        if not isinstance(document, dict) or name not in document:
            yield MISSING
            return
        document = document[name]
    yield document


# filters

Test = Callable[[Document], bool]


def compiled(query: Mapping[str, Any]) -> Test:
    """A filter as a function of documents."""
    tests = [_part(name, wanted) for name, wanted in query.items()]
    if len(tests) == 1:
        return tests[0]
    return lambda document: all(test(document) for test in tests)


def _part(name: str, wanted: Any) -> Test:
    if name in ("$or", "$and"):
        tests = [compiled(one) for one in wanted]
        many = any if name == "$or" else all
        return lambda document: many(test(document) for test in tests)
    if name == "$expr":
        from tests.sim.pipelines import value_of

        return lambda document: bool(value_of(wanted, document))
    if name.startswith("$"):
        raise Unsupported(f"filter {name}")
    return _at_path(tuple(name.split(".")), wanted)


def _at_path(path: tuple[str, ...], wanted: Any) -> Test:
    if len(path) <= 2 and not isinstance(wanted, dict | list):
        return _plainly(path, wanted)
    conditions = condition(wanted)
    if len(path) == 1:
        field = path[0]
        if len(conditions) == 1:
            only = conditions[0]
            return lambda document: only((document.get(field, MISSING),))
        return lambda document: all(test((document.get(field, MISSING),)) for test in conditions)
    return lambda document: all(test(list(values_at(document, path))) for test in conditions)


def _plainly(path: tuple[str, ...], wanted: Any) -> Test:
    """A field, or a field of an object, is equal to a plain value: the most frequent test, so it is a quick one."""
    equal = _equal(wanted)
    if len(path) == 1:
        field = path[0]
        return lambda document: equal((document.get(field, MISSING),))
    outer, inner = path

    def test(document: Document) -> bool:
        holder = document.get(outer)
        if type(holder) is dict:
            return equal((holder.get(inner, MISSING),))
        return equal(list(values_at(document, path)))

    return test


def condition(wanted: Any) -> list[Callable[[Sequence[Any]], bool]]:
    """What a filter says of one path, as functions of all values that stand there."""
    if isinstance(wanted, dict) and any(str(key).startswith("$") for key in wanted):
        return [_operator(str(name), argument) for name, argument in wanted.items()]
    return [_equal(wanted)]


def _equal(wanted: Any) -> Callable[[Sequence[Any]], bool]:
    key = order(wanted)
    text = str(wanted) if key[0] == STRING else None

    def test(found: Sequence[Any]) -> bool:
        for value in found:
            kind = type(value)
            if kind is str:
                if value == text:
                    return True
            elif kind is list:
                if order(value) == key or any(order(one) == key for one in value):
                    return True
            elif order(value) == key:
                return True
        return False

    return test


def _operator(name: str, argument: Any) -> Callable[[Sequence[Any]], bool]:
    if name == "$eq":
        return _equal(argument)
    if name == "$ne":
        equal = _equal(argument)
        return lambda found: not equal(found)
    if name in ("$in", "$nin"):
        tests = [_equal(one) for one in argument]
        if name == "$in":
            return lambda found: any(test(found) for test in tests)
        return lambda found: not any(test(found) for test in tests)
    if name == "$exists":
        return lambda found: any(value is not MISSING for value in found) == bool(argument)
    if name == "$type":
        if argument not in TYPES:
            raise Unsupported(f"$type {argument}")
        return _each(lambda value: value is not MISSING and order(value)[0] == TYPES[argument])
    if name in _COMPARISONS:
        return _compared(name, argument)
    if name == "$elemMatch":
        element = compiled(argument)
        return lambda found: any(
            isinstance(value, list) and any(isinstance(one, dict) and element(one) for one in value) for value in found
        )
    raise Unsupported(f"filter operator {name}")


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda one, two: one > two,
    "$gte": lambda one, two: one >= two,
    "$lt": lambda one, two: one < two,
    "$lte": lambda one, two: one <= two,
}


def _compared(name: str, argument: Any) -> Callable[[Sequence[Any]], bool]:
    key, compare = order(argument), _COMPARISONS[name]
    if key[0] in (NULL, OBJECT, ARRAY):
        raise Unsupported(f"{name} with {argument!r}")

    def test(value: Any) -> bool:
        found = order(value)
        return found[0] == key[0] and compare(found, key)

    return _each(test)


def _each(test: Callable[[Any], bool]) -> Callable[[Sequence[Any]], bool]:
    """A value, or one of its elements."""
    return lambda found: any(
        test(value) or (type(value) is list and any(test(one) for one in value)) for value in found
    )


# order and projection

Sort = Sequence[tuple[str, int]]


def sorted_by(documents: list[Document], keys: Sort) -> list[Document]:
    """Documents in the order of a sort; equals stay as they are."""
    for name, way in reversed(list(keys)):
        path = name.split(".")
        documents = sorted(documents, key=lambda one, path=path: _sort_key(one, path), reverse=way < 0)  # type: ignore[misc]
    return documents


def _sort_key(document: Document, path: Sequence[str]) -> tuple[Any, ...]:
    found = list(values_at(document, path))
    if len(found) != 1 or isinstance(found[0], list):
        raise Unsupported(f"sorting by {'.'.join(path)} through arrays")
    return order(found[0])


def copied(value: Any) -> Any:
    """A value of the caller's own."""
    kind = type(value)
    if kind is dict:
        return {name: copied(one) if type(one) in _HOLDERS else one for name, one in value.items()}
    if kind is list:
        return [copied(one) if type(one) in _HOLDERS else one for one in value]
    return value


_HOLDERS = frozenset({dict, list})


def projected(stored: Document, fields: Mapping[str, Any] | None) -> Document:
    """What a projection leaves of a document, as the caller's own."""
    if fields and any(value != 0 for value in fields.values()):
        return _chosen(stored, fields)
    document: Document = copied(stored)
    if not fields:
        return document
    for name in fields:
        if "." in name:
            raise Unsupported(f"leaving out {name}")
        document.pop(name, None)
    return document


def _chosen(document: Document, fields: Mapping[str, Any]) -> Document:
    tree: dict[str, Any] = {} if fields.get("_id") == 0 else {"_id": True}
    computed: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            computed[name] = value
        elif value == 1:
            _into(tree, name.split("."))
        elif name != "_id":
            raise Unsupported(f"projection of {name} as {value!r}")
    left: Document = _picked(document, tree)
    if computed:
        from tests.sim.pipelines import value_of

        left.update({name: value_of(value, document) for name, value in computed.items()})
    return left


def _into(tree: dict[str, Any], path: Sequence[str]) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = True


def _picked(document: Any, tree: Mapping[str, Any]) -> Any:
    """The fields that a tree names, in the document's own order."""
    left = {}
    for name, value in document.items():
        below = tree.get(name)
        if below is True:
            left[name] = copied(value)
        elif below is not None and isinstance(value, dict):
            left[name] = _picked(value, below)
        elif below is not None and isinstance(value, list):
            left[name] = [_picked(one, below) for one in value if isinstance(one, dict)]
    return left
