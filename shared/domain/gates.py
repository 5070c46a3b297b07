"""What keeps a whole workflow from taking tasks now: held, closed, at a limit, enough runs at once.

Called by: scheduler (a workflow behind a closed gate is skipped whole), shared.mongo.waiting and console (the same gate
as a sentence). Pure: shared.mongo.gates reads the facts. Change also: section 'Order of work' of ARCHITECTURE.md,
shared/contracts/settings_file.py, whose stored form is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.calendar import Calendar, closed_because, is_open, opens_at
from shared.domain.limits import Limit, limits_of, period_ends, room
from shared.domain.priority import Priority

SERVER_LOCK = "server"
"""What every run without a robot holds, over all accounts; parked ones count for nothing there: they only wait."""
SETUP_AGAIN_FAILS = frozenset({"login_rejected", "setup"})
"""Reasons of circuit breakers that also keep a run from setting up anew whose task is in hand already."""
GROUP_RUNS = 1
"""Runs at once with the same group values, unless the settings say otherwise: a certificate is used once at a time."""
FAILURES_MAX = 5


class GateReason(StrEnum):
    """Why a workflow takes no tasks now."""

    UNPUBLISHED = "unpublished"
    """It has no current version."""
    HELD = "held"
    """Held by a person or by its circuit breaker."""
    CLOSED = "closed"
    """Outside its windows, on a holiday, or its portal is under maintenance."""
    LIMIT = "limit"
    """A limit of its own or of its account is used up."""
    RUNS = "runs"
    """As many runs of it, or of its account, as may be at once."""


class HoldMode(StrEnum):
    """What a person who holds a workflow wants of the runs that are at work on it."""

    PAUSE = "pause"
    """They go on to their end; no new ones begin."""
    STOP = "stop"
    """They finish the task in hand, and give the others back."""
    ABORT = "abort"
    """They end now; the instruction in flight is cut."""


@dataclass(frozen=True)
class Rules:
    """A workflow's settings as the order of work reads them; defaults for what a stored document leaves out."""

    priority: int = int(Priority.NORMAL)
    every_us: int | None = None
    """Aging: one level up per so many microseconds waited; none: off."""
    zone: str = "UTC"
    limits: tuple[Limit, ...] = ()
    count_system_failures: bool = False
    runs_max: int | None = None
    group_max: int | None = GROUP_RUNS
    group_of_workflow: bool = False
    """Whether equal group values of another workflow of the account are another group."""
    tags: frozenset[str] = frozenset()
    failures_max: int | None = FAILURES_MAX
    login_rejected_holds: bool = True
    environment: str | None = None
    """Whose selectors objects have; none: as the account says."""
    warm_groups: tuple[Mapping[str, Any], ...] = ()
    """Group values for which a run of a scenario with `warm` is to be kept ready."""


@dataclass(frozen=True)
class AccountRules:
    """An account's settings as the order of work reads them."""

    zone: str = "UTC"
    limits: tuple[Limit, ...] = ()
    runs_max: int | None = None
    weight: int | None = None
    environment: str | None = None


@dataclass(frozen=True)
class Used:
    """A limit and how much of it is used."""

    counter: str
    """Id of the counter in `usage`."""
    limit: Limit
    used: int
    zone: str
    of_account: bool
    """Whether it is the account's, over all its workflows."""


@dataclass(frozen=True)
class Standing:
    """All that a gate is judged by."""

    workflow: str
    published: bool = True
    circuit: Mapping[str, Any] | None = None
    """The document of its circuit breaker, if there is one."""
    calendar: Calendar | None = None
    used: Sequence[Used] = ()
    scenarios: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The circuit breakers that hold scenarios of it, by the scenario's name."""
    runs: int = 0
    """Runs of it that are at work."""
    account_runs: int = 0


@dataclass(frozen=True)
class Gate:
    """Whether tasks may be taken, and if not, why."""

    reason: GateReason | None = None
    """None: it is open."""
    text: str = ""
    """What is in the way, such as 'its workflow is outside its windows'."""
    until: datetime | None = None
    """When it opens by itself, if that is known."""
    room: int | None = None
    """How many tasks may be taken now; none: any number."""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether tasks may be taken."""
        return self.reason is None


def rules_of(settings: Mapping[str, Any] | None) -> Rules:
    """Rules from a workflow's stored settings."""
    stored = settings or {}
    every_s = (stored.get("aging") or {}).get("every_s")
    concurrency, breaker = stored.get("concurrency") or {}, stored.get("breaker") or {}
    return Rules(
        priority=int(stored.get("priority", Priority.NORMAL)),
        every_us=int(every_s * 1_000_000) if every_s else None,
        zone=str(stored.get("timezone") or "UTC"),
        limits=limits_of(stored),
        count_system_failures=bool(stored.get("count_system_failures", False)),
        runs_max=concurrency.get("runs"),
        group_max=concurrency.get("group", GROUP_RUNS),
        group_of_workflow=concurrency.get("scope") == "workflow",
        tags=frozenset(stored.get("tags") or ()),
        failures_max=breaker.get("failures", FAILURES_MAX),
        login_rejected_holds=bool(breaker.get("login_rejected", True)),
        environment=stored.get("environment"),
        warm_groups=tuple((stored.get("warm") or {}).get("groups") or ()),
    )


def account_rules_of(settings: Mapping[str, Any] | None) -> AccountRules:
    """Rules from an account's stored settings."""
    stored = settings or {}
    return AccountRules(
        str(stored.get("timezone") or "UTC"),
        limits_of(stored),
        stored.get("runs"),
        stored.get("weight"),
        stored.get("environment"),
    )


def gate(rules: Rules, account: AccountRules, standing: Standing, now: datetime) -> Gate:
    """The first thing that is in the way of a workflow, or an open gate with the room that its limits leave."""
    if not standing.published:
        return Gate(GateReason.UNPUBLISHED, f"its workflow {standing.workflow} has no published version")
    return _held(standing) or _closed(standing, now) or _limit(standing, now) or _runs(rules, account, standing)


def scenario_gate(standing: Standing, scenario: str | None) -> Gate | None:
    """What keeps one scenario of a workflow from taking tasks: its setup failed again and again; none: nothing."""
    circuit = standing.scenarios.get(scenario or "")
    if circuit is None:
        return None
    held = _open_circuit(circuit, f"its scenario {scenario} of workflow {standing.workflow} is held")
    return replace(held, facts={**held.facts, "scenario": scenario})


def circuit_id(account: str, workflow: str, scenario: str | None = None) -> str:
    """Id of the circuit breaker of a workflow, or of one scenario of it."""
    return f"{account}/{workflow}" if scenario is None else f"{account}/{workflow}#{scenario}"


def _held(standing: Standing) -> Gate | None:
    circuit = standing.circuit or {}
    if circuit.get("state") != "open":
        return None
    return _open_circuit(circuit, f"its workflow {standing.workflow} is held")


def _open_circuit(circuit: Mapping[str, Any], said: str) -> Gate:
    text = str(circuit.get("text") or "").strip().rstrip(".")
    facts = {key: circuit.get(key) for key in ("reason", "text", "at", "by", "run", "mode")}
    return Gate(GateReason.HELD, f"{said}: {text}" if text else said, facts=facts)


def _closed(standing: Standing, now: datetime) -> Gate | None:
    calendar = standing.calendar
    if calendar is None or is_open(calendar, now):
        return None
    until = opens_at(calendar, now)
    why = closed_because(calendar, now) or "outside its windows"
    opens = f"; it opens at {_moment(until)}" if until else "; it does not open within a year"
    return Gate(GateReason.CLOSED, f"its workflow {standing.workflow} is closed ({why}){opens}", until)


def _limit(standing: Standing, now: datetime) -> Gate | None:
    full = [one for one in standing.used if one.limit.blocks and one.used >= one.limit.max]
    if not full:
        return None
    ends = {one.counter: period_ends(one.limit.per, now, one.zone) for one in full}
    last = max(full, key=lambda one: ends[one.counter])
    whose = "its account's" if last.of_account else f"its workflow {standing.workflow}'s"
    until = ends[last.counter]
    text = f"{whose} limit of {last.limit.max} tasks per {last.limit.per} is reached; it goes on at {_moment(until)}"
    facts = {"per": last.limit.per, "max": last.limit.max, "used": last.used, "of_account": last.of_account}
    return Gate(GateReason.LIMIT, text, until, facts=facts)


def _runs(rules: Rules, account: AccountRules, standing: Standing) -> Gate:
    """Closed when enough runs are at work; else open, with the room that limits leave."""
    left = room([(one.limit, one.used) for one in standing.used])
    if rules.runs_max is not None and standing.runs >= rules.runs_max:
        text = f"{standing.runs} runs of its workflow {standing.workflow} are at work, as many as may be at once"
        return Gate(GateReason.RUNS, text, room=left, facts={"runs": standing.runs, "max": rules.runs_max})
    if account.runs_max is not None and standing.account_runs >= account.runs_max:
        text = f"{standing.account_runs} runs of its account are at work, as many as may be at once"
        facts = {"runs": standing.account_runs, "max": account.runs_max, "of_account": True}
        return Gate(GateReason.RUNS, text, room=left, facts=facts)
    return Gate(room=left)


def account_lock(account: str) -> str:
    """What every run of an account holds."""
    return f"account/{account}"


def workflow_lock(account: str, workflow: str) -> str:
    """What every run of a workflow holds."""
    return f"workflow/{account}/{workflow}"


def group_lock(account: str, workflow: str, digest: str, *, of_workflow: bool) -> str | None:
    """What every run with these group values holds; none: its scenario does not group.

    Unless `of_workflow`, the same values of the same fields are one group over all workflows of the account: a
    certificate is the same one whoever uses it.
    """
    if not digest:
        return None
    return f"group/{account}/{workflow}/{digest}" if of_workflow else f"group/{account}/{digest}"


def warm_lock(account: str, workflow: str, scenario: str, digest: str) -> str:
    """What a run that is kept warm holds: one at a time for each scenario and group."""
    return f"warm/{account}/{workflow}/{scenario}/{digest}"


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="minutes").replace("+00:00", "Z")
