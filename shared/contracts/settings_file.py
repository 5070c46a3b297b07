"""How things are run, as people write it: settings of workflows and accounts, robots' schedules, holidays, portals.

Called by: workflow_file.py (first values of a workflow), services/console (changes), scheduler (a robot's schedule).
Change also: docs/workflows.md, services/console/core/settings.py (stored form), shared/domain/gates.py (reads it).
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from shared.contracts.parts import Name, Part, Seconds, Tag

DAY_MINUTES = 24 * 60
WINDOWS_MAX = 50
HOLIDAYS_MAX = 2000
MAINTENANCE_MAX = 200


class Day(StrEnum):
    """A day of the week, or any holiday."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"
    HOLIDAY = "holiday"
    """A date in one of the holiday calendars; on it no other day's window counts."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:  # an unknown zone, a folder, a name that is no path
        raise ValueError(f"{name!r} is no time zone; write one like America/Sao_Paulo or UTC") from error
    return name


TimeZone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known_zone)]
"""An IANA name."""
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$", description="HH:MM, quoted.")]


def minutes(text: str) -> int:
    """Minutes since midnight of a time of day such as '08:30'; '24:00' is 1440."""
    return int(text[:2]) * 60 + int(text[3:5])


class Window(Part):
    """A weekly window, by the wall clock; it begins on the days named and may end on the day after."""

    days: list[Day] = Field(min_length=1, max_length=8, description="On which it begins.")
    start: TimeOfDay = Field(description="First minute of it.")
    end: TimeOfDay = Field(description="First minute after it; before start: on the next day.")

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.start == "24:00":
            raise ValueError("a window can't start at 24:00; write 00:00 of the next day")
        if self.start == self.end:
            raise ValueError('start and end are the same; a whole day is start: "00:00", end: "24:00"')
        return self


class Limit(Part):
    """How many tasks may be executed in an hour, a day or a month."""

    per: Literal["hour", "day", "month"] = Field(description="By the clock of the time zone, not the last 60 minutes.")
    max: int = Field(ge=1, le=1_000_000_000, description="Tasks.")
    warn_at: list[int] = Field(default=[80], max_length=10, description="Percentages at which an event is raised.")
    on_limit: Literal["block", "alert"] = Field(default="block", description="Wait for the next period, or only tell.")

    @model_validator(mode="before")
    @classmethod
    def _one_percentage(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("warn_at"), int):
            return {**data, "warn_at": [data["warn_at"]]}
        return data

    @model_validator(mode="after")
    def _percentages(self) -> Self:
        if any(not 1 <= one <= 99 for one in self.warn_at):
            raise ValueError("warn_at: percentages from 1 to 99; reaching the limit has an event of its own")
        return self


def _one_per_period(limits: list[Limit]) -> list[Limit]:
    periods = [limit.per for limit in limits]
    if len(set(periods)) != len(periods):
        raise ValueError("at most one limit per hour, day and month")
    return limits


Limits = Annotated[list[Limit], AfterValidator(_one_per_period)]
Windows = Annotated[list[Window], Field(max_length=WINDOWS_MAX)]


class Retry(Part):
    """What follows from a system failure."""

    attempts: int = Field(default=1, ge=1, le=20, description="Attempts in all.")
    position: Literal["end", "front"] = Field(default="end", description="Where a retried task joins its list.")
    delay: Seconds = Field(default=60.0, le=7 * 86400, description="Wait before the next attempt.")
    in_doubt: Literal["hold", "fail", "retry"] = Field(default="hold", description="When nobody knows if it was done.")


class Price(Part):
    """What a dispatch costs."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.")
    per_dispatch: str = Field(pattern=r"^\d{1,9}(\.\d{1,6})?$", description="A decimal number, quoted.")


class DeliverySettings(Part):
    """Who hears of outcomes."""

    endpoint: Name | None = Field(default=None, description="Name of the account's endpoint.")
    endpoints: list[Name] = Field(default=[], max_length=20, description="Further ones, or all of them.")
    events: list[Literal["succeeded", "failed", "held", "cancelled", "expired", "decision"]] = Field(
        default=["succeeded", "failed", "held", "cancelled", "expired"],
        description="Which events are sent; decision: a script asks a person.",
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if self.endpoint is None and not self.endpoints:
            raise ValueError("delivery names an endpoint, or several under endpoints")
        return self


class Aging(Part):
    """How waiting raises a task."""

    every: Seconds = Field(ge=1, le=30 * 86400, description="One level up for each such time waited, never past 5.")


class Concurrency(Part):
    """What may run at once."""

    runs: int | None = Field(default=None, ge=1, le=100_000, description="Of the workflow; null: as robots are free.")
    group: int | None = Field(
        default=1,
        ge=1,
        le=100_000,
        description="With the same group values, such as one certificate; null: any number.",
    )
    scope: Literal["account", "workflow"] = Field(
        default="account", description="Whether equal group values of other workflows of the account count as the same."
    )


class Breaker(Part):
    """What holds the whole workflow until a person releases it."""

    failures: int | None = Field(default=5, ge=1, le=1000, description="System failures in a row; null: never.")
    login_rejected: bool = Field(default=True, description="A rejected log-in holds it at once.")


GroupValues = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}(\.[A-Za-z_][A-Za-z0-9_-]{0,62}){0,4}$")],
        str | int | float | bool | None,
    ],
    Field(min_length=1, max_length=5),
]
"""The values of the fields that a scenario groups by."""


class WarmSettings(Part):
    """Which groups have a run that is kept ready."""

    groups: list[GroupValues] = Field(
        max_length=100, description="One run each, of every scenario with `warm` that groups by these fields."
    )


class Pacing(Part):
    """Adaptive waits: what is learned of how long to pause and to wait at each place of the scripts."""

    mode: Literal["learn", "frozen", "off"] = Field(
        default="learn", description="frozen: as learned so far, learn no more; off: as the script says, learn nothing."
    )
    pause_max: Seconds = Field(default=5.0, le=60, description="Longest pause before an instruction.")
    find_max: Seconds = Field(default=60.0, ge=1, le=600, description="Longest learned wait for an element.")
    retry_after_hours: float = Field(
        default=1000.0, ge=1, le=1_000_000, description="Robot hours after which shorter waits are tried again."
    )


class Settings(Part):
    """How a workflow is run; can be edited at any time without a new version."""

    priority: int = Field(default=1, ge=0, le=5, description="Of tasks without one of their own.")
    aging: Aging | None = Field(default=None, description="None: waiting raises nothing.")
    timezone: TimeZone = Field(default="UTC", description="IANA name; for windows and limits.")
    windows: Windows = Field(default=[], description="When it runs; none: always.")
    holidays: list[Name] = Field(default=[], max_length=20, description="Holiday calendars of the account.")
    portals: list[Name] = Field(default=[], max_length=20, description="Portals whose maintenance it waits for.")
    limits: Limits = Field(default=[], description="How many tasks are executed in a period.")
    count_system_failures: bool = Field(default=False, description="Whether a system failure uses up a limit.")
    concurrency: Concurrency = Field(default_factory=Concurrency, description="What may run at once.")
    tags: list[Tag] = Field(default=[], max_length=20, description="A robot needs all of them, and its scenario's.")
    breaker: Breaker = Field(default_factory=Breaker, description="What holds it until a person releases it.")
    warm: WarmSettings | None = Field(default=None, description="Groups whose scenarios with `warm` are kept ready.")
    retry: Retry = Field(default_factory=Retry, description="What follows from a system failure.")
    environment: Name | None = Field(
        default=None, description="Whose selectors objects have; none: the account's, else their own."
    )
    pacing: Pacing = Field(default_factory=Pacing, description="Adaptive waits.")
    price: Price | None = Field(default=None, description="None: free.")
    delivery: DeliverySettings | None = Field(default=None, description="None: partners poll the results feed.")


class Retention(Part):
    """How long results are kept; what is not set is kept for ever."""

    results_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Days after its end at which a task goes to the archive."
    )
    archive_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Days in the archive after which it is deleted, with its evidence."
    )
    evidence_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Age in days at which evidence is deleted, wherever its task is."
    )

    @model_validator(mode="after")
    def _archived_before_deleted(self) -> Retention:
        if self.archive_days is not None and self.results_days is None:
            raise ValueError("archive_days needs results_days: only what is in the archive is deleted from it")
        return self


class AccountSettings(Part):
    """How an account's work is run as a whole."""

    timezone: TimeZone = Field(default="UTC", description="IANA name; for its limits.")
    limits: Limits = Field(default=[], description="Over all its workflows.")
    runs: int | None = Field(default=None, ge=1, le=100_000, description="Runs at once; null: as robots are free.")
    weight: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Its share of robots against other accounts that wait at the same level.",
    )
    environment: Name | None = Field(
        default=None, description="Whose selectors objects have, where the workflow does not say."
    )
    retention: Retention | None = Field(default=None, description="How long results are kept; null: for ever.")


class Schedule(Part):
    """When a robot may work."""

    timezone: TimeZone = Field(default="UTC", description="IANA name.")
    windows: Windows = Field(default=[], description="None: always.")
    holidays: list[Name] = Field(default=[], max_length=20, description="Holiday calendars of its account.")


class WorkerConfig(Part):
    """What people set on a robot; fields that are left out stay as they are."""

    account: Name | None = Field(default=None, description="Only this account's work; null: shared by all.")
    workflows: list[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}/[a-z0-9][a-z0-9_-]{0,62}$")]] | None = (
        Field(default=None, max_length=500, description="Only these, as account/name; null: all.")
    )
    exclusive: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}/[a-z0-9][a-z0-9_-]{0,62}$")] | None = Field(
        default=None, description="Exclusive mode: this workflow only, as account/name; null: off."
    )
    tags: list[Tag] = Field(default=[], max_length=50, description="What it has.")
    schedule: Schedule | None = Field(default=None, description="When it may work; null: always.")


class Holiday(Part):
    """One date of a holiday calendar."""

    date: date
    name: str = Field(default="", max_length=100, description="For people.")


class HolidayCalendar(Part):
    """A named set of dates of an account."""

    title: str = Field(default="", max_length=200, description="For people.")
    dates: list[Holiday] = Field(max_length=HOLIDAYS_MAX, description="Which days are holidays.")


class Maintenance(Part):
    """One time in which a portal is away."""

    start: datetime = Field(description="With its zone.")
    end: datetime = Field(description="With its zone.")
    reason: str = Field(default="", max_length=200, description="For people.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a time needs its zone, such as 2027-01-31T22:00:00-03:00")
        if self.end <= self.start:
            raise ValueError("a maintenance must end after it starts")
        return self


class Portal(Part):
    """A site that workflows work on, and when it is away."""

    title: str = Field(default="", max_length=200, description="For people.")
    timezone: TimeZone = Field(default="UTC", description="IANA name; for the weekly windows.")
    weekly: Windows = Field(default=[], description="Away every week in these windows.")
    maintenance: list[Maintenance] = Field(default=[], max_length=MAINTENANCE_MAX, description="Announced once.")
