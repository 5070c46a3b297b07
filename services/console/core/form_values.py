"""What is in a form's fields: from texts to a value, and from a value to texts.

Called by: pages (new task). Pure. `collect` never guesses: what can't be read is a complaint at its field. `fill` gives
nothing for a value that would not come out of the fields unchanged; it is shown as JSON then.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from enum import StrEnum
from typing import Any

from services.console.core.form import Field, Form, Kind, same

TEXT_BYTES_MAX = 1024 * 1024
_INTEGER = re.compile(r"^[+-]?[0-9]{1,19}$")
_NUMBER = re.compile(r"^[+-]?[0-9]{1,30}([.,][0-9]{1,30})?([eE][+-]?[0-9]{1,3})?$")
_DATE = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
Raw = Mapping[str, Any]
"""What is in the fields, by pointer: texts, true or false for flags, lists of texts for several choices."""


class Fault(StrEnum):
    """What is wrong with what was filled in; pages say it in the reader's language."""

    REQUIRED = "required"
    INTEGER = "integer"
    NUMBER = "number"
    DATE = "date"
    MOMENT = "moment"
    JSON = "json"
    CHOICE = "choice"
    LONG = "long"


@dataclass
class Collected:
    """What a form holds."""

    value: Any = None
    faults: dict[str, Fault] = field(default_factory=dict)
    """By the pointer of the field. With any, the value is not to be used."""


class _Wrong(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


_ABSENT = object()


def initial(form: Form, zone: tzinfo) -> dict[str, Any]:
    """What is in the fields of a new form: the schema's defaults, and what there is no choice about."""
    raw: dict[str, Any] = {}
    for one in form.every():
        if one.kind is Kind.GROUP:
            continue
        only = one.required and one.kind is Kind.CHOICE and len(one.options) == 1
        shown = _shown(one, one.default, zone) if one.has_default else "0" if only else None
        raw[one.pointer] = _empty(one) if shown is None else shown
    if form.whole:
        raw[""] = "{}"
    return raw


def collect(form: Form, raw: Raw, zone: tzinfo) -> Collected:
    """The value that the fields hold. zone: of the reader, for dates with a time."""
    found = Collected()
    if form.whole:
        found.value, _touched = _one(form.fields[0], raw, zone, found.faults)
    else:
        found.value, _touched = _object(form.fields, raw, zone, found.faults)
    return found


def fill(form: Form, value: Any, zone: tzinfo) -> dict[str, Any] | None:
    """What the fields hold when they hold `value`; none when they can't."""
    raw: dict[str, Any] = {}
    if form.whole:
        raw[""] = _json(value)
    elif not isinstance(value, dict) or not _fill(form.fields, value, zone, raw):
        return None
    back = collect(form, raw, zone)
    return raw if not back.faults and same(back.value, value) else None


def _fill(fields: tuple[Field, ...], value: Mapping[str, Any], zone: tzinfo, raw: dict[str, Any]) -> bool:
    for one in fields:
        inner = value.get(one.name, _ABSENT)
        if one.kind is Kind.GROUP:
            within = {} if inner is _ABSENT else inner
            if not isinstance(within, dict) or not _fill(one.fields, within, zone, raw):
                return False
            continue
        left_empty = inner is _ABSENT or (inner is None and one.nullable and one.required)
        shown = _empty(one) if left_empty else _shown(one, inner, zone)
        if shown is None:
            return False
        raw[one.pointer] = shown
    return True


def _object(fields: tuple[Field, ...], raw: Raw, zone: tzinfo, faults: dict[str, Fault]) -> tuple[dict[str, Any], bool]:
    """An object of fields, and whether anything was filled in."""
    value: dict[str, Any] = {}
    anything = False
    for one in fields:
        inner, touched = _one(one, raw, zone, faults)
        anything = anything or touched
        if inner is not _ABSENT:
            value[one.name] = inner
    return value, anything


def _one(one: Field, raw: Raw, zone: tzinfo, faults: dict[str, Fault]) -> tuple[Any, bool]:
    """A field's value, and whether it was filled in."""
    if one.kind is Kind.GROUP:
        within: dict[str, Fault] = {}
        value, touched = _object(one.fields, raw, zone, within)
        touched = touched or any(fault is not Fault.REQUIRED for fault in within.values())
        if not touched and not one.required:
            return _ABSENT, False
        faults.update(within)
        return value, touched
    try:
        value = _read(one, raw.get(one.pointer), zone)
    except _Wrong as wrong:
        faults[one.pointer] = wrong.fault
        return _ABSENT, True
    if value is not _ABSENT:
        return value, not (one.kind is Kind.FLAG and value is False and one.required)
    if not one.required:
        return _ABSENT, False
    if one.nullable:
        return None, False
    if one.kind in (Kind.LIST, Kind.CHOICES):
        return [], False
    faults[one.pointer] = Fault.REQUIRED
    return _ABSENT, False


def _read(one: Field, given: Any, zone: tzinfo) -> Any:
    """What a field holds; _ABSENT when it is empty.

    Raises: _Wrong.
    """
    if one.kind is Kind.FLAG:
        return _flag(one, given)
    if one.kind is Kind.CHOICES:
        chosen = list(given) if isinstance(given, list | tuple) else []
        return [_option(one, place) for place in chosen] if chosen else _ABSENT
    text = "" if given is None else str(given)
    if not text:
        return _ABSENT
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        raise _Wrong(Fault.LONG)
    if one.kind is Kind.CHOICE:
        return _option(one, text)
    if one.kind is Kind.LIST:
        lines = [line for line in text.split("\n") if line.strip()]
        return [_scalar(one.item or Kind.TEXT, line, zone) for line in lines] if lines else _ABSENT
    return _scalar(one.kind, text, zone)


def _flag(one: Field, given: Any) -> Any:
    """A required one is on or off; one that may be left out has a third state."""
    if one.required and not one.nullable:
        return given is True
    if isinstance(given, bool):
        return given
    return _ABSENT if given in (None, "") else _option(one, given)


def _option(one: Field, place: Any) -> Any:
    try:
        number = int(str(place))
        if not 0 <= number < len(one.options):
            raise ValueError
        return one.options[number]
    except ValueError as error:
        raise _Wrong(Fault.CHOICE) from error


def _scalar(kind: Kind, text: str, zone: tzinfo) -> Any:
    if kind is Kind.INTEGER:
        if not _INTEGER.match(text.strip()):
            raise _Wrong(Fault.INTEGER)
        return int(text)
    if kind is Kind.NUMBER:
        return _number(text.strip())
    if kind is Kind.DATE:
        return _day(text.strip())
    if kind is Kind.MOMENT:
        return _moment(text.strip(), zone)
    if kind is Kind.JSON:
        return _parsed(text)
    return text


def _number(text: str) -> int | float:
    if not _NUMBER.match(text):
        raise _Wrong(Fault.NUMBER)
    if _INTEGER.match(text):
        return int(text)
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise _Wrong(Fault.NUMBER)
    return value


def _day(text: str) -> str:
    try:
        if not _DATE.match(text):
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise _Wrong(Fault.DATE) from error


def _moment(text: str, zone: tzinfo) -> str:
    """With its zone, as the schema's format wants it."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=zone)).isoformat(timespec="seconds")
    except (ValueError, OverflowError) as error:
        raise _Wrong(Fault.MOMENT) from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _Wrong(Fault.JSON) from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _empty(one: Field) -> Any:
    if one.kind is Kind.FLAG and one.required and not one.nullable:
        return False
    return [] if one.kind is Kind.CHOICES else ""


def _shown(one: Field, value: Any, zone: tzinfo) -> Any:
    """What a field holds that holds `value`; none when it can't. Whether it comes out unchanged is tried by `fill`."""
    if one.kind is Kind.JSON:
        return _json(value)
    if one.kind is Kind.FLAG and isinstance(value, bool):
        return value if one.required and not one.nullable else str(_place(one, value))
    if one.kind is Kind.CHOICE:
        place = _place(one, value)
        return None if place is None else str(place)
    if one.kind is Kind.CHOICES and isinstance(value, list):
        places = [_place(one, inner) for inner in value]
        return None if None in places else [str(place) for place in places]
    if one.kind is Kind.LIST and isinstance(value, list):
        return "\n".join(_line(inner) for inner in value)
    if one.kind is Kind.MOMENT and isinstance(value, str):
        return _local(value, zone)
    if isinstance(value, str) and one.kind in (Kind.TEXT, Kind.LONG, Kind.DATE):
        broken = "\r" in value or (one.kind is Kind.TEXT and "\n" in value)
        return None if broken else value
    if one.kind in (Kind.INTEGER, Kind.NUMBER) and isinstance(value, int | float) and not isinstance(value, bool):
        return _line(value)
    return None


def _line(value: Any) -> str:
    return value.replace("\r", "\n") if isinstance(value, str) else json.dumps(value)


def _local(value: str, zone: tzinfo) -> str | None:
    """A moment without its zone, as the field for it shows it."""
    try:
        at = datetime.fromisoformat(value)
        return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M") if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _place(one: Field, value: Any) -> int | None:
    return next((place for place, option in enumerate(one.options) if same(option, value)), None)
