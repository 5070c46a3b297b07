"""Pieces of PromQL that rules and dashboards share. Called by: slos.py, rules.py, dashboards.py. Pure."""

from __future__ import annotations

JOBS = ("console", "collector", "scheduler", "executor", "delivery", "alerts")
"""The services; each one's job is `regente-<name>`."""
BROKER_JOB, BROKER_QUEUES_JOB = "rabbitmq", "rabbitmq-queues"


def rate(metric: str, by: str = "", window: str = "5m", where: str = "") -> str:
    """Per second, summed over instances. by: labels to keep; where: matchers, such as `job="x"`."""
    return f"sum{_by(by)} (rate({metric}{_where(where)}[{window}]))"


def increase(metric: str, by: str = "", window: str = "1d", where: str = "") -> str:
    """How many in a window, summed over instances."""
    return f"sum{_by(by)} (increase({metric}{_where(where)}[{window}]))"


def quantile(q: float, metric: str, by: str = "", window: str = "5m", where: str = "") -> str:
    """A quantile of a histogram, over instances. metric: without `_bucket`."""
    labels = ", ".join(part for part in (by, "le") if part)
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({metric}_bucket{_where(where)}[{window}])))"


def once(metric: str, by: str, where: str = "") -> str:
    """A figure that several instances show alike: once."""
    return f"max by ({by}) ({metric}{_where(where)})"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def _where(matchers: str) -> str:
    return f"{{{matchers}}}" if matchers else ""
