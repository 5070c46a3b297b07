"""Whether an endpoint gets anything now: its circuit breaker, and how it is slowed down.

Called by: sender.py. Pure; what is decided is stored on the endpoint's document by a guarded update, so that several
instances share it and it survives restarts. After N failures in a row the circuit opens: deliveries wait, nothing is
tried and nothing of their schedules is used up, but for one delivery that probes after growing pauses. A success closes
it. 429, 502 and 504 (and 503 that says until when) are the endpoint's way to say that all of it is overloaded: it is
left alone for a while, and then gets one delivery at a time until one succeeds.
Source: the Standard Webhooks specification, "Deliverability and reliability".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from services.delivery.core.outcome import Answer, Meaning, complaint, meaning
from services.delivery.core.schedule import JITTER_PART
from shared.domain.retry_after import RETRY_AFTER_S_MAX

SLOWING = frozenset({429, 502, 504})
SLOW_S = 1.0
"""How long an overloaded endpoint is left alone at first, when it doesn't say; doubled each time."""
SLOW_S_MAX = 300.0
DOUBLINGS_MAX = 30
PAUSE_S_MIN = 0.05


@dataclass(frozen=True)
class Rules:
    """When a circuit opens, and how long it stays so."""

    failures: int
    """So many in a row open it; 0: it never opens."""
    pause_s: float
    """Before the first probe; doubled after each one that fails."""
    pause_s_max: float


def rules_of(failures: int, pause_s: float, pause_s_max: float, schedule: Sequence[float]) -> Rules:
    """The rules of an endpoint: a probe never waits longer than the endpoint's own schedule would."""
    if not schedule:
        return Rules(failures, pause_s, pause_s_max)
    first_s = max(min(pause_s, schedule[0]), PAUSE_S_MIN)
    return Rules(failures, first_s, max(min(pause_s_max, max(schedule)), first_s))


@dataclass(frozen=True)
class Circuit:
    """An endpoint's circuit as it stands."""

    open: bool = False
    failures: int = 0
    """In a row, whichever deliveries'."""
    opened_at: datetime | None = None
    reason: str | None = None
    """The failure that opened it."""
    probes: int = 0
    """That failed since it opened."""
    probe_at: datetime | None = None
    """The next one, while it is open; while one is under way: when another may try."""
    slowed: int = 0
    """Times in a row that the endpoint said it was overloaded."""
    slow_until: datetime | None = None
    """Nothing goes to it before."""


CLEAN = Circuit()


def circuit_of(document: Mapping[str, Any] | None) -> Circuit:
    """As it is stored; none, or fields that are missing: closed."""
    known = {name: (document or {}).get(name, getattr(CLEAN, name)) for name in asdict(CLEAN)}
    return Circuit(**known)


def document_of(circuit: Circuit) -> dict[str, Any]:
    """As it is stored."""
    return asdict(circuit)


def closed_until(circuit: Circuit) -> datetime | None:
    """When the endpoint may get something again; none: now."""
    times = [at for at in (circuit.probe_at if circuit.open else None, circuit.slow_until) if at is not None]
    return max(times, default=None)


def places(circuit: Circuit, most: int) -> int:
    """How many deliveries it may get at once, when it may get any."""
    return 1 if circuit.open or circuit.slowed else most


def begin_probe(circuit: Circuit, *, now: datetime, for_s: float) -> Circuit:
    """One delivery tries whether the endpoint is back; nobody else does for so long, even if the prober dies."""
    return replace(circuit, probe_at=now + timedelta(seconds=for_s))


def let_through(circuit: Circuit, now: datetime) -> Circuit:
    """A person tries the endpoint: one delivery may go now."""
    return replace(circuit, probe_at=now if circuit.open else None, slow_until=None)


def after_answer(
    circuit: Circuit, answer: Answer, *, probe: bool, rules: Rules, now: datetime, jitter: float
) -> Circuit:
    """What an answer makes of a circuit. probe: it was the one delivery that tries an open circuit.

    jitter: a random number from 0 to 1. The same circuit means that there is nothing to store.
    """
    what = meaning(answer)
    if what is Meaning.GONE:
        return circuit  # it will be disabled, which is more
    if what is Meaning.DELIVERED:
        still_slow = circuit.slow_until is not None and circuit.slow_until > now
        return Circuit(slowed=circuit.slowed, slow_until=circuit.slow_until) if still_slow else CLEAN
    failed = replace(_slowed(circuit, answer, now, jitter), failures=circuit.failures + 1)
    if circuit.open:
        if not probe:
            return failed  # it was under way when the circuit opened
        probes = circuit.probes + 1
        return replace(failed, probes=probes, probe_at=_later(now, _pause_s(rules, probes), jitter))
    if not 0 < rules.failures <= failed.failures:
        return failed
    return replace(
        failed, open=True, opened_at=now, reason=complaint(answer), probes=0,
        probe_at=_later(now, _pause_s(rules, 0), jitter),
    )  # fmt: skip


def _slowed(circuit: Circuit, answer: Answer, now: datetime, jitter: float) -> Circuit:
    asked_s = answer.retry_after_s
    if answer.status not in SLOWING and not (answer.status == 503 and asked_s is not None):
        return circuit
    if asked_s is not None:
        until = now + timedelta(seconds=min(asked_s, RETRY_AFTER_S_MAX))
    else:
        until = _later(now, min(SLOW_S * 2 ** min(circuit.slowed, DOUBLINGS_MAX), SLOW_S_MAX), jitter)
    latest = until if circuit.slow_until is None else max(until, circuit.slow_until)
    return replace(circuit, slowed=circuit.slowed + 1, slow_until=latest)


def _pause_s(rules: Rules, probes: int) -> float:
    return min(rules.pause_s * 2.0 ** min(probes, DOUBLINGS_MAX), rules.pause_s_max)


def _later(now: datetime, wait_s: float, jitter: float) -> datetime:
    return now + timedelta(seconds=wait_s * (1 + JITTER_PART * jitter))
