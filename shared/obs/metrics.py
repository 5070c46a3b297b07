"""Prometheus metrics by name: asking twice for one gives the same object, so modules may be imported in any order.

Called by: every module that counts; shared.runtime.http serves them at /metrics. Survives a crash: nothing; counters
start at 0, as Prometheus expects. Names get the prefix `regente_` and base units (seconds, bytes). Change also: `make
docs` (docs/metrics.md lists every metric that is made with a literal name).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

PREFIX = "regente_"
OTHER = "other"
"""The label of everything beyond a cap."""
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

_made: dict[str, Counter | Gauge | Histogram] = {}
_M = TypeVar("_M", Counter, Gauge, Histogram)


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series of each, which nobody reads


class Capped:
    """Keeps the values of labels bounded: the first `most` that are seen stay themselves, all others are `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[tuple[str, ...]] = set()

    def of(self, *values: str) -> tuple[str, ...]:
        """The values to label with, as many as were given."""
        if values in self._seen:
            return values
        if len(self._seen) >= self._most:
            return (OTHER,) * len(values)
        self._seen.add(values)
        return values


def counter(name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
    """A counter; its name ends in `_total`."""
    return _known(name, Counter) or _keep(name, Counter(_full(name), doc, labels))


def gauge(name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
    """A value that goes up and down."""
    return _known(name, Gauge) or _keep(name, Gauge(_full(name), doc, labels))


def histogram(name: str, doc: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS) -> Histogram:
    """A distribution; buckets in the unit that the name ends in."""
    return _known(name, Histogram) or _keep(name, Histogram(_full(name), doc, labels, buckets=tuple(buckets)))


def exposition() -> bytes:
    """All metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)


def _full(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name


def _known(name: str, kind: type[_M]) -> _M | None:
    found = _made.get(_full(name))
    if found is not None and not isinstance(found, kind):
        raise ValueError(f"the metric {_full(name)} exists as another kind")
    return found


def _keep(name: str, made: _M) -> _M:
    _made[_full(name)] = made
    return made
