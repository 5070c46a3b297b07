"""What the resources share: pages, names, actions, and JSON that the database takes.

Called by: every module of api. Field by field documented, because /openapi.json is made of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field

from services.console.store.commands import Asked

PAGE_SIZE = 50
PAGE_SIZE_MAX = 200
JSON_SIZE_BYTES_MAX = 64 * 1024
JSON_DEPTH_MAX = 20
TEXT_LENGTH_MAX = 500
YEARS = range(1971, 2200)
_INT64 = 2**63
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
DOCUMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"

Name = Annotated[str, Field(pattern=NAME, description="Small letters, digits, - and _; at most 63.")]
NamePath = Annotated[str, Path(pattern=NAME, description="Small letters, digits, - and _; at most 63.")]
IdPath = Annotated[str, Path(min_length=1, max_length=200, description="Its id.")]
AccountQuery = Annotated[str | None, Query(max_length=63, description="Only this account.")]
LimitQuery = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description="Items per page.")]
CursorQuery = Annotated[str | None, Query(max_length=1000, description="`next` of the page before.")]
TextQuery = Annotated[str | None, Query(max_length=200)]


def in_utc(at: datetime) -> datetime:
    """A time in UTC.

    Raises: ValueError when its year is none of YEARS, which is a slip (or more than the database can hold).
    """
    if at.year not in YEARS:
        raise ValueError(f"a year from {YEARS[0]} to {YEARS[-1]}, please")
    return at.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A time with its zone."""


class Body(BaseModel):
    """What callers send: unknown fields are refused, so that a slip is not ignored."""

    model_config = ConfigDict(extra="forbid")


class View(BaseModel):
    """What callers get: the named fields of a document."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def of(cls, document: Mapping[str, Any], **more: Any) -> Self:
        """The view of a document of the database."""
        return cls.model_validate({**document, **more})


Id = Annotated[str, Field(validation_alias=AliasChoices("_id", "id"), description="Id.")]

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T] = Field(description="In the list's order.")
    next: str | None = Field(description="`cursor` of the next page; null at the end. Also in the header Link.")


class HoldRequest(Body):
    """Why something is held."""

    text: str = Field(default="", max_length=TEXT_LENGTH_MAX, description="For people; it is shown wherever it waits.")


class Action(BaseModel):
    """A request to the service that owns the thing, and what came of it so far."""

    command: str = Field(description="Id of the request.")
    state: str = Field(description="done; or pending, when its owner has not answered yet: it will be done.")
    reason: str | None = Field(description="What the owner said.")

    @classmethod
    def of(cls, asked: Asked) -> Action:
        """The view of a request."""
        return cls(command=asked.command, state=asked.state, reason=asked.reason)


class History(View):
    """One line of a task's history."""

    at: datetime | None = Field(default=None, description="When.")
    state: str | None = Field(default=None, description="The state that it took.")
    reason: str | None = Field(default=None, description="Why.")
    by: str | None = Field(default=None, description="Who: a service or a user.")
    run: str | None = Field(default=None, description="The run, if any.")


def check_json(value: Any) -> Any:
    """The value, when the database can hold it.

    Raises: ValueError that names what is wrong.
    """
    _check(value, 0)
    if len(json.dumps(value)) > JSON_SIZE_BYTES_MAX:
        raise ValueError(f"at most {JSON_SIZE_BYTES_MAX} bytes of JSON are taken")
    return value


def _check(value: Any, depth: int) -> None:
    if depth > JSON_DEPTH_MAX:
        raise ValueError(f"nested deeper than {JSON_DEPTH_MAX}")
    if isinstance(value, dict):
        for key, one in value.items():
            _check_text(key)
            if "\x00" in key:
                raise ValueError("a name holds a NUL character")
            _check(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _check(one, depth + 1)
    elif isinstance(value, str):
        _check_text(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError("an integer is too large")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and Infinity are no JSON")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text is not Unicode") from error


JsonObject = Annotated[dict[str, Any], AfterValidator(check_json)]
