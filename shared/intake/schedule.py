"""When a source is due: every so many seconds, or by a cron expression in a time zone.

Called by: source_settings.py (checks), collector (when to look next, which times a timer missed), console (next run).
Pure: moments are arguments, in and out in UTC.

Daylight saving as Debian's cron has it (https://manpages.debian.org/stable/cron/cron.8.en.html): a job at a fixed time
runs once on each day, at the first moment after the gap when the clock skips its time, and the first time when the
clock shows it twice. One with * in minutes or hours runs by real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

CRON_LENGTH_MAX = 200
COUNTED_MAX = 1000
NEAR = timedelta(days=2)


class BadSchedule(ValueError):
    """No cron expression, or no time zone; the text says which part."""


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields in a time zone."""

    expression: str
    zone: ZoneInfo

    def __post_init__(self) -> None:
        """Raises: BadSchedule."""
        if len(self.expression) > CRON_LENGTH_MAX or len(self.expression.split()) != 5:
            raise BadSchedule(
                "a cron expression has five fields: minute hour day month weekday, such as 0 9 * * mon-fri"
            )
        try:
            found = self.after(datetime(2024, 1, 1, tzinfo=UTC))
        except (CronSimError, ValueError, AssertionError) as error:
            raise BadSchedule(f"no cron expression: {str(error) or 'unreadable'}") from error
        if found is None:
            raise BadSchedule("this cron expression never comes")

    def after(self, at: datetime) -> datetime | None:
        """The first time after `at`; none when there is none within 50 years."""
        return next(self.times(at), None)

    def times(self, at: datetime) -> Iterator[datetime]:
        """The times after `at`, in order, each once."""
        last = at
        try:
            for local in CronSim(self.expression, at.astimezone(self.zone)):
                moment = local.astimezone(UTC)
                if moment > last:  # in an hour that the clock shows twice, it begins before `at`
                    last = moment
                    yield moment
        except (StopIteration, RuntimeError):
            return

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last time in (after, until], or none."""
        found = None
        for moment in self.times(max(after, until - NEAR)):
            if moment > until:
                break
            found = moment
        if found is None and after < until - NEAR:
            # Nothing in two days: going back from yesterday meets no hour that the clock shows twice.
            back = CronSim(self.expression, (until - NEAR / 2).astimezone(self.zone), reverse=True)
            earlier = next(back, None)
            found = earlier.astimezone(UTC) if earlier is not None else None
        return found if found is not None and found > after else None

    def count(self, after: datetime, until: datetime) -> int:
        """How many times are in (after, until]; COUNTED_MAX stands for that many or more."""
        counted = 0
        for moment in self.times(after):
            if moment > until or counted >= COUNTED_MAX:
                break
            counted += 1
        return counted


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises: BadSchedule.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise BadSchedule(f"{name[:60]!r} is no time zone; America/Sao_Paulo is one") from error
