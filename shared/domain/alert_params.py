"""The parameters that rules of each kind have: one model per shape, everything with a default and a limit.

Called by: alert_rules.py (PARAMS), services/alerts (reads them). Pure. Change also: docs/alerts.md.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

DAY = 86400.0
Duration = Annotated[float, Field(gt=0, le=400 * DAY)]


class Params(BaseModel):
    """What all have in common: nothing else may be given."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Params):
    """No parameters: `for_s` says it all."""


class Still(Params):
    """Something waits, runs or stands still."""

    still_s: Duration = Field(default=900.0, description="For so long.")


class Stuck(Still):
    """Something stands still, which the scheduler may notice (and end) first."""

    keep_s: Duration = Field(default=900.0, description="What the scheduler ended is over so long after that.")


class Idle(Params):
    """A workflow without new tasks."""

    idle_s: Duration = Field(default=DAY, description="Its newest task came in so long ago.")
    forget_s: Duration = Field(default=7 * DAY, description="A workflow that had none for so long is not watched.")


class Within(Params):
    """Deadlines that come near."""

    within_s: Duration = Field(default=2 * 3600.0, description="Deadlines within this time are looked at.")
    margin_s: float = Field(
        default=0.0, ge=0, le=7 * DAY, description="The forecast must end so long before the deadline."
    )


class Failing(Params):
    """How many of the newest tasks failed."""

    window_s: Duration = Field(default=3600.0, description="Tasks that ended within this time count.")
    sample: int = Field(default=200, ge=1, le=1000, description="At most so many, the newest.")
    min_tasks: int = Field(default=10, ge=1, le=1000, description="Fewer say nothing.")
    percent: float = Field(default=20.0, gt=0, le=100, description="So many of a hundred, or more, failed.")


class Kept(Params):
    """An event that has no end of its own."""

    keep_s: Duration = Field(default=3600.0, description="It is over so long after the last one.")


class Held(Params):
    """A workflow that is held."""

    by_person: bool = Field(default=False, description="Also when a person holds it, who knows it.")


class Counted(Params):
    """Deliveries that were given up."""

    look_back_s: Duration = Field(default=7 * DAY, description="Older ones are not counted any more.")
    min_count: int = Field(default=1, ge=1, le=1000, description="Fewer are nothing to tell.")


class Deep(Params):
    """Messages in a service's queue."""

    depth: int = Field(default=10_000, ge=1, le=10_000_000, description="So many messages, or more, wait.")
    dead: int = Field(default=1, ge=1, le=10_000_000, description="So many dead letters, or more.")


class Flying(Params):
    """The canary's rounds."""

    rounds: int = Field(default=2, ge=1, le=20, description="So many in a row failed, or were slow.")
    slow_s: Duration = Field(default=15.0, description="Slower than this is slow.")


class Lagging(Params):
    """The members of the database."""

    lag_s: Duration = Field(default=10.0, description="A secondary is so far behind.")
