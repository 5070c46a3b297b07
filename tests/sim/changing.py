"""Updates of one document, as MongoDB's operators make them. Pure.

Called by: server.py. Anything that this program does not use raises Unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo.errors import WriteError

from tests.sim.pipelines import updated_by
from tests.sim.values import Document, Unsupported, compiled, condition, order, values_at

Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]


def change(document: Document, update: Update, query: Mapping[str, Any], *, inserted: bool = False) -> None:
    """Change a document (of the caller's own) in place. inserted: an upsert makes it just now.

    Raises: WriteError as the server does for a path that leads through a value.
    """
    if not isinstance(update, Mapping):
        updated_by(document, update)
        return
    if not update or not all(name.startswith("$") for name in update):
        raise Unsupported("replacing a document")
    steps: list[tuple[list[str], Any, Any]] = []
    for name, fields in update.items():
        if name not in _OPERATORS:
            raise Unsupported(f"update {name}")
        if name != "$setOnInsert" or inserted:
            steps += [(path.split("."), _OPERATORS[name], argument) for path, argument in fields.items()]
    steps.sort(key=lambda step: step[0])  # in whichever order they are written, fields are made by their names
    for parts, operator, argument in steps:
        operator(document, _positioned(document, parts, query) if "$" in parts else parts, argument)


def new_document(query: Mapping[str, Any]) -> Document:
    """What an upsert begins with: the fields that the filter wants equal to something."""
    found: Document = {}
    for name, wanted in query.items():
        if name.startswith("$") or "." in name:
            raise Unsupported(f"an upsert by {name}")
        if not (isinstance(wanted, Mapping) and any(str(key).startswith("$") for key in wanted)):
            found[name] = wanted
    return found


def _positioned(document: Document, parts: list[str], query: Mapping[str, Any]) -> list[str]:
    """The path with the place of the array's element that the filter found."""
    at = parts.index("$")
    array: Any = document
    for name in parts[:at]:
        array = array[name]
    test = _element_test(".".join(parts[:at]), query)
    for n, element in enumerate(array):
        if test(element):
            return [*parts[:at], str(n), *parts[at + 1 :]]
    raise Unsupported(f"no element of {'.'.join(parts)} matches")


def _element_test(path: str, query: Mapping[str, Any]) -> Callable[[Any], bool]:
    """What the filter says of the elements of an array: by $elemMatch, or by one field of them."""
    whole = query.get(path)
    if isinstance(whole, Mapping) and set(whole) == {"$elemMatch"}:
        return compiled(whole["$elemMatch"])
    wanted = {name.removeprefix(f"{path}."): one for name, one in query.items() if name.startswith(f"{path}.")}
    if len(wanted) != 1:
        raise Unsupported(f"the element of {path}")
    ((name, one),) = wanted.items()
    tests, inner = condition(one), name.split(".")
    return lambda element: all(test(list(values_at(element, inner))) for test in tests)


def _holder(document: Any, parts: Sequence[str], *, make: bool) -> Any:
    """What holds the last name of a path; none when it is not there and is not to be made."""
    for n, name in enumerate(parts[:-1]):
        if isinstance(document, list):
            document = document[int(name)]
            continue
        if name not in document:
            if not make:
                return None
            document[name] = {}
        document = document[name]
        if not isinstance(document, dict | list):
            if not make:
                return None
            raise WriteError(f"Cannot create field '{parts[n + 1]}' in element {{{name}: {document!r}}}", 28)
    return document


def _set(document: Document, parts: Sequence[str], value: Any) -> None:
    holder = _holder(document, parts, make=True)
    if isinstance(holder, list):
        holder[int(parts[-1])] = value
    else:
        holder[parts[-1]] = value


def _unset(document: Document, parts: Sequence[str], _: Any) -> None:
    holder = _holder(document, parts, make=False)
    if isinstance(holder, list):
        raise Unsupported("$unset of an element")
    if holder is not None:
        holder.pop(parts[-1], None)


def _inc(document: Document, parts: Sequence[str], by: Any) -> None:
    holder = _holder(document, parts, make=True)
    if isinstance(holder, list):
        raise Unsupported("$inc of an element")
    before = holder.get(parts[-1], 0)
    if order(before)[0] != order(0)[0]:
        raise WriteError(f"Cannot apply $inc to a value of non-numeric type: {parts[-1]}", 14)
    holder[parts[-1]] = before + by


def _max(document: Document, parts: Sequence[str], value: Any) -> None:
    holder = _holder(document, parts, make=True)
    if isinstance(holder, list):
        raise Unsupported("$max of an element")
    if parts[-1] not in holder or order(value) > order(holder[parts[-1]]):
        holder[parts[-1]] = value


def _push(document: Document, parts: Sequence[str], argument: Any) -> None:
    holder = _holder(document, parts, make=True)
    values, limit = [argument], None
    if isinstance(argument, Mapping) and any(name.startswith("$") for name in argument):
        unknown = set(argument) - {"$each", "$slice"}
        if unknown:
            raise Unsupported(f"$push with {unknown}")
        values, limit = list(argument["$each"]), argument.get("$slice")
    array = holder.setdefault(parts[-1], [])
    if not isinstance(array, list):
        raise WriteError(f"The field '{parts[-1]}' must be an array", 2)
    array = [*array, *values]
    holder[parts[-1]] = array if limit is None else array[limit:] if limit < 0 else array[:limit]


_OPERATORS = {"$set": _set, "$setOnInsert": _set, "$unset": _unset, "$inc": _inc, "$max": _max, "$push": _push}
