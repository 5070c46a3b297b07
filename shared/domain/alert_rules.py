"""What may be wrong, and from when on people are told: the kinds of rules, their parameters, and the rules that an
installation begins with.

Called by: alerts (evaluates them, inserts the defaults once), console and cli (check what people edit). Pure. Change
also: docs/alerts.md and docs/runbooks (a test holds them together), services/alerts/reads (who looks).

A rule is one document of `rules`. `parse_rule` is the only way from a document, or from what a person sends, to a
rule. A rule whose id is `<account>/<name>` takes the place of the installation's rule `<name>` for that account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.domain.alert_params import (
    Counted,
    Deep,
    Failing,
    Flying,
    Held,
    Idle,
    Kept,
    Lagging,
    Nothing,
    Params,
    Still,
    Stuck,
    Within,
)

ACCOUNT = r"[a-z0-9][a-z0-9_-]{0,62}"
NAME_PATTERN = re.compile(rf"^(?:{ACCOUNT}/)?[a-z0-9][a-z0-9_]{{0,62}}$")
RULES_MAX = 2000
"""Rules that an installation may have."""
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
RUNBOOK_PAGE = "/runbooks/{kind}"
"""Of the console, which has what docs/runbooks holds."""


class AlertSeverity(StrEnum):
    """How bad it is, the least first."""

    INFO = "info"
    """Good to know."""
    WARNING = "warning"
    """Somebody should look at it today."""
    ERROR = "error"
    """Work stands still until somebody does something."""
    CRITICAL = "critical"
    """The installation itself stands still, or soon will."""

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(AlertSeverity).index(self)


class RuleKind(StrEnum):
    """The condition that a rule watches. The page docs/runbooks/<kind>.md says what to do."""

    WORKFLOW_IDLE = "workflow_idle"
    """A workflow that used to get tasks got no new one for a time."""
    TASK_WAITING = "task_waiting"
    """A workflow's oldest task that could run waits too long."""
    TASK_RUNNING = "task_running"
    """A task runs for too long."""
    DEADLINE_DANGER = "deadline_danger"
    """Tasks of a workflow will probably not be done before their deadline."""
    FAILURE_RATE = "failure_rate"
    """Too many of a workflow's newest tasks failed."""
    RUN_STUCK = "run_stuck"
    """A run at work made no progress for a time."""
    ROBOT_LOST = "robot_lost"
    """An authorised robot is not connected."""
    ROBOT_FROZEN = "robot_frozen"
    """A robot beats, but what it has in hand makes no progress."""
    ROBOT_QUARANTINED = "robot_quarantined"
    """A robot failed again and again and gets no work for a while."""
    UNAUTHORISED_ATTEMPT = "unauthorised_attempt"
    """Somebody came with a robot's address and another key, or a robot did what it may not."""
    LIMIT_WARNING = "limit_warning"
    """A percentage of a limit was used up; over with its period."""
    LIMIT_REACHED = "limit_reached"
    """A limit was used up; over with its period."""
    DECISION_WAITING = "decision_waiting"
    """A script asked a person, and nobody has answered yet."""
    TASK_IN_DOUBT = "task_in_doubt"
    """Nobody knows whether a task's last act took effect; a person has to say."""
    WORKFLOW_HELD = "workflow_held"
    """A workflow takes no tasks until a person releases it."""
    SCENARIO_HELD = "scenario_held"
    """A scenario takes no tasks because its setup failed again and again."""
    DELIVERY_DEAD = "delivery_dead"
    """Deliveries to an endpoint were given up; a person may replay them."""
    ENDPOINT_DOWN = "endpoint_down"
    """An endpoint failed again and again; its deliveries wait."""
    ENDPOINT_DISABLED = "endpoint_disabled"
    """An endpoint wants nothing more (410); it gets nothing until it is put again."""
    POLLER_FAILING = "poller_failing"
    """A source failed again and again; its tasks don't come in."""
    SERVICE_DOWN = "service_down"
    """A service, or one instance of it, does not answer or does not beat."""
    BROKER_UNHEALTHY = "broker_unhealthy"
    """The broker does not answer, raises an alarm, or lost a node."""
    QUEUE_DEEP = "queue_deep"
    """A service's queue is deep, or holds dead letters."""
    DATABASE_UNHEALTHY = "database_unhealthy"
    """The database does not answer, has no primary, lost a member, or one lags behind."""
    CANARY_FAILING = "canary_failing"
    """The canary, a task through the whole system every minute, does not come through, or slowly."""


PARAMS: dict[RuleKind, type[Params]] = {
    RuleKind.WORKFLOW_IDLE: Idle,
    RuleKind.TASK_WAITING: Still,
    RuleKind.TASK_RUNNING: Still,
    RuleKind.DEADLINE_DANGER: Within,
    RuleKind.FAILURE_RATE: Failing,
    RuleKind.RUN_STUCK: Stuck,
    RuleKind.ROBOT_LOST: Nothing,
    RuleKind.ROBOT_FROZEN: Stuck,
    RuleKind.ROBOT_QUARANTINED: Nothing,
    RuleKind.UNAUTHORISED_ATTEMPT: Kept,
    RuleKind.LIMIT_WARNING: Kept,
    RuleKind.LIMIT_REACHED: Kept,
    RuleKind.DECISION_WAITING: Still,
    RuleKind.TASK_IN_DOUBT: Nothing,
    RuleKind.WORKFLOW_HELD: Held,
    RuleKind.SCENARIO_HELD: Nothing,
    RuleKind.DELIVERY_DEAD: Counted,
    RuleKind.ENDPOINT_DOWN: Nothing,
    RuleKind.ENDPOINT_DISABLED: Nothing,
    RuleKind.POLLER_FAILING: Nothing,
    RuleKind.SERVICE_DOWN: Nothing,
    RuleKind.BROKER_UNHEALTHY: Nothing,
    RuleKind.QUEUE_DEEP: Deep,
    RuleKind.DATABASE_UNHEALTHY: Lagging,
    RuleKind.CANARY_FAILING: Flying,
}
"""The model of `params` for each kind."""

EVENT_KINDS = frozenset({RuleKind.UNAUTHORISED_ATTEMPT, RuleKind.LIMIT_WARNING, RuleKind.LIMIT_REACHED})
"""Kinds that follow from events, once for each; the others are conditions, looked at again and again."""

INSTALLATION_KINDS = frozenset(
    {
        RuleKind.SERVICE_DOWN,
        RuleKind.BROKER_UNHEALTHY,
        RuleKind.QUEUE_DEEP,
        RuleKind.DATABASE_UNHEALTHY,
        RuleKind.CANARY_FAILING,
    }
)
"""Kinds that are about no account: an account can have no rule of its own for them."""


class Where(BaseModel):
    """What a rule is about; each is a name or a pattern with * and ?, and what is not given is not asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account: str | None = Field(default=None, max_length=100)
    workflow: str | None = Field(default=None, max_length=100, description="Name, without its account.")
    worker: str | None = Field(default=None, max_length=100, description="Id of a robot.")
    endpoint: str | None = Field(default=None, max_length=100)
    source: str | None = Field(default=None, max_length=100)
    service: str | None = Field(default=None, max_length=100, description="Name of a service or queue.")


Seconds = Annotated[float, Field(ge=0, le=400 * DAY)]


class Rule(BaseModel):
    """A rule, checked."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    id: str = Field(alias="_id", description="`robot_lost`, or `<account>/<name>` of an account's own.")
    kind: RuleKind
    title: str = Field(min_length=1, max_length=200)
    account: str | None = Field(default=None, description="None: of all accounts.")
    where: Where | None = None
    params: dict[str, Any] = Field(default_factory=dict, description="As PARAMS[kind] has them.")
    for_s: Seconds = Field(default=0.0, description="So long it must hold before people are told.")
    severity: AlertSeverity
    recipients: tuple[str, ...] = Field(default=(), max_length=50, description="Names; empty: the default ones.")
    repeat_s: float = Field(default=4 * HOUR, ge=60, le=30 * DAY, description="Told again after this time.")
    enabled: bool = True
    rev: int = Field(default=1, ge=1)

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if not NAME_PATTERN.match(value):
            raise ValueError("a name of a-z, 0-9 and _, of at most 63, perhaps behind `<account>/`")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Rule:
        own = self.id.partition("/")[0] if "/" in self.id else None
        if own != self.account:
            raise ValueError(f"a rule of account {self.account!r} is named `{self.account or '<account>'}/..`")
        if self.account and self.kind in INSTALLATION_KINDS:
            raise ValueError(f"{self.kind} is about the installation, not about an account")
        if self.for_s and self.kind in EVENT_KINDS:
            raise ValueError(f"{self.kind} happens at once: for_s must be 0")
        try:
            checked = PARAMS[self.kind].model_validate(self.params)
        except ValidationError as error:
            path, message = _said(error.errors()[0])
            raise ValueError(f"params.{path}: {message}") from error
        object.__setattr__(self, "params", checked.model_dump())
        return self

    @property
    def name(self) -> str:
        """Without its account."""
        return self.id.rpartition("/")[2]

    @property
    def settings(self) -> Params:
        """Its parameters as their model."""
        return PARAMS[self.kind].model_validate(self.params)


class BadRule(ValueError):
    """What was sent is no rule; `errors` says where: [(path, message)]."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors))
        self.errors = errors


def parse_rule(document: Mapping[str, Any]) -> Rule:
    """The rule of a document, or of what a person sends (with `_id`).

    Raises: BadRule.
    """
    try:
        return Rule.model_validate(dict(document))
    except ValidationError as error:
        raise BadRule([_said(fault) for fault in error.errors()]) from error


def _said(fault: Mapping[str, Any]) -> tuple[str, str]:
    path = ".".join(str(part) for part in fault["loc"])
    return path or "rule", str(fault["msg"]).removeprefix("Value error, ")


def rule_document(rule: Rule, *, at: datetime, by: str) -> dict[str, Any]:
    """A rule as it is stored."""
    fields = rule.model_dump(mode="json", by_alias=True, exclude={"id"})
    return {"_id": rule.id, "schema_version": 1, **fields, "updated_at": at, "updated_by": by}


def _default(kind: RuleKind, title: str, severity: AlertSeverity, for_s: float = 0.0, **more: Any) -> Rule:
    return Rule(_id=kind.value, kind=kind, title=title, severity=severity, for_s=for_s, **more)


_I, _W, _E, _C = AlertSeverity
DEFAULTS: tuple[Rule, ...] = (
    _default(RuleKind.WORKFLOW_IDLE, "No new tasks", _W, repeat_s=DAY),
    _default(RuleKind.TASK_WAITING, "A task waits too long", _W, params={"still_s": 4 * HOUR}),
    _default(RuleKind.TASK_RUNNING, "A task runs too long", _W, params={"still_s": 2 * HOUR}),
    _default(RuleKind.DEADLINE_DANGER, "A deadline is in danger", _W, MINUTE),
    _default(RuleKind.FAILURE_RATE, "Too many tasks fail", _E, MINUTE),
    _default(RuleKind.RUN_STUCK, "A run makes no progress", _E, params={"still_s": 15 * MINUTE}),
    _default(RuleKind.ROBOT_LOST, "A robot is lost", _E, 2 * MINUTE),
    _default(RuleKind.ROBOT_FROZEN, "A robot is frozen", _E, params={"still_s": 5 * MINUTE}),
    _default(RuleKind.ROBOT_QUARANTINED, "A robot is in quarantine", _W),
    _default(RuleKind.UNAUTHORISED_ATTEMPT, "Somebody tried what is not allowed", _E),
    _default(RuleKind.LIMIT_WARNING, "A limit is nearly used up", _I, repeat_s=DAY),
    _default(RuleKind.LIMIT_REACHED, "A limit is reached", _W, repeat_s=DAY),
    _default(RuleKind.DECISION_WAITING, "A decision waits", _W, params={"still_s": 15 * MINUTE}),
    _default(RuleKind.TASK_IN_DOUBT, "A task is in doubt", _E),
    _default(RuleKind.WORKFLOW_HELD, "A workflow is held", _E),
    _default(RuleKind.SCENARIO_HELD, "A scenario is held", _E),
    _default(RuleKind.DELIVERY_DEAD, "Deliveries were given up", _E, repeat_s=DAY),
    _default(RuleKind.ENDPOINT_DOWN, "An endpoint is down", _W, 5 * MINUTE),
    _default(RuleKind.ENDPOINT_DISABLED, "An endpoint is disabled", _E, repeat_s=DAY),
    _default(RuleKind.POLLER_FAILING, "A source fails", _E),
    _default(RuleKind.SERVICE_DOWN, "A service is down", _C, 30.0, repeat_s=HOUR),
    _default(RuleKind.BROKER_UNHEALTHY, "The broker is not well", _C, 15.0, repeat_s=HOUR),
    _default(RuleKind.QUEUE_DEEP, "A queue is deep", _W, MINUTE),
    _default(RuleKind.DATABASE_UNHEALTHY, "The database is not well", _C, 15.0, repeat_s=HOUR),
    _default(RuleKind.CANARY_FAILING, "The canary does not come through", _C, repeat_s=HOUR),
)
"""Inserted once by alerts; people edit and disable them."""
