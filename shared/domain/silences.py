"""Silences: of which alerts people don't want to be told for a time.

Called by: console and cli (check what people write; the console owns the collection `silences`), alerts (reads them
before it tells). Pure: the moment is an argument. Change also: docs/notifications.md.

A silence holds messages back, it drops none: of what is still wrong when it ends, people are told then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

MATCHERS_MAX = 20
SILENCES_MAX = 2000
"""Silences that an installation may have at once."""
DAYS_MAX = 90
"""No silence is longer than this."""
Field_ = Literal["rule", "kind", "severity", "account", "workflow", "robot", "service", "target"]
Op = Literal["eq", "ne", "glob"]


class Matcher(BaseModel):
    """One thing that an alert must be like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Field_ = Field(description="What is compared; what an alert lacks is an empty text.")
    op: Op = Field(default="eq", description="eq: the same; ne: another; glob: a pattern with * and ?.")
    value: str = Field(max_length=300)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels (see `labels_of`) is like it."""
        found = labels.get(self.field, "")
        match self.op:
            case "eq":
                return found == self.value
            case "ne":
                return found != self.value
            case "glob":
                return fnmatchcase(found, self.value)


class Silence(BaseModel):
    """A silence, checked."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    id: str = Field(alias="_id", min_length=1, max_length=100)
    account: str | None = Field(default=None, max_length=100, description="Only alerts of it; none: of all accounts.")
    matchers: tuple[Matcher, ...] = Field(min_length=1, max_length=MATCHERS_MAX, description="All of them must match.")
    starts_at: datetime
    ends_at: datetime
    by: str = Field(min_length=1, max_length=200, description="Who made it.")
    reason: str = Field(min_length=1, max_length=500)
    schema_version: int = Field(default=1, ge=1)

    @field_validator("starts_at", "ends_at")
    @classmethod
    def _zoned(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value

    @model_validator(mode="after")
    def _bounded(self) -> Silence:
        if self.ends_at <= self.starts_at:
            raise ValueError("a silence ends after it starts")
        if self.ends_at - self.starts_at > timedelta(days=DAYS_MAX):
            raise ValueError(f"a silence lasts {DAYS_MAX} days at most")
        return self

    def active(self, now: datetime) -> bool:
        """Whether it holds back at this moment."""
        return self.starts_at <= now < self.ends_at

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it is about an alert with these labels (see `labels_of`)."""
        if self.account is not None and labels.get("account", "") != self.account:
            return False
        return all(matcher.matches(labels) for matcher in self.matchers)


class BadSilence(ValueError):
    """What was sent is no silence; `errors` says where: [(path, message)]."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors))
        self.errors = errors


def parse_silence(document: Mapping[str, Any]) -> Silence:
    """The silence of a document, or of what a person sends (with `_id` and `by`).

    Raises: BadSilence.
    """
    try:
        return Silence.model_validate(dict(document))
    except ValidationError as error:
        raise BadSilence(
            [
                (
                    ".".join(str(part) for part in fault["loc"]) or "silence",
                    str(fault["msg"]).removeprefix("Value error, "),
                )
                for fault in error.errors()
            ]
        ) from None


def silence_document(silence: Silence) -> dict[str, Any]:
    """A silence as it is stored; `expires_at` is when the document may go."""
    fields = silence.model_dump(by_alias=True)
    fields["matchers"] = [matcher.model_dump() for matcher in silence.matchers]
    return {**fields, "expires_at": silence.ends_at + timedelta(days=DAYS_MAX)}


def labels_of(alert: Mapping[str, Any]) -> dict[str, str]:
    """What silences and recipients compare, of an alert's document: rule, kind, severity, account, workflow, robot,
    service, target; what it lacks is left out."""
    facts = alert.get("facts") or {}
    found = {
        "rule": alert.get("rule"), "kind": alert.get("kind"), "severity": alert.get("severity"),
        "account": alert.get("account"), "workflow": facts.get("workflow"), "robot": facts.get("worker"),
        "service": facts.get("service"), "target": alert.get("target"),
    }  # fmt: skip
    return {name: str(value) for name, value in found.items() if value is not None}


def silenced_until(labels: Mapping[str, str], silences: Iterable[Silence], now: datetime) -> datetime | None:
    """Until when an alert with these labels is held back; none: it isn't."""
    ends = [silence.ends_at for silence in silences if silence.active(now) and silence.matches(labels)]
    return max(ends, default=None)
