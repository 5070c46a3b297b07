"""Whatever is killed when: the spans of all tasks and runs hang together, and say the same whoever made them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from shared.obs import trace, tracing
from shared.obs.tracing import Span
from tests.sim.world import simulate

SEEDS = range(1500 if os.environ.get("REGENTE_SOAK") else 60)
ENDED = re.compile(r"runs (run_\w+): .*'state': '(?:finished|aborted)'")


class Kept:
    """Takes the place of the recorder: keeps every span."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, span: Span) -> None:
        self.spans.append(span)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    recorder = Kept()
    monkeypatch.setattr(tracing, "_recorder", recorder)
    trace.sample(1.0)
    yield recorder
    trace.sample(0.0)


def own(span: Span) -> tuple[str | None, str | None]:
    return trace.trace_id(span.traceparent), trace.span_id(span.traceparent)


def test_spans_hang_together_through_every_storm(kept: Kept) -> None:
    seen: set[str] = set()
    takeovers = ended_runs = 0
    for seed in SEEDS:
        kept.spans.clear()
        verdict = simulate(seed, tracing=True)
        assert not verdict.wrong, f"seed {seed}: {verdict.wrong[0]}"
        made: dict[tuple[str | None, str | None], Span] = {}
        for span in kept.spans:
            first = made.setdefault(own(span), span)
            assert (first.name, first.parent) == (span.name, span.parent), f"seed {seed}: one id, two spans"
            assert first.start <= first.end, f"seed {seed}: {span}"
        tasks = {str(span.attributes["task"]) for span in kept.spans if span.attributes.get("task")}
        runs = {str(span.attributes["run"]) for span in kept.spans if span.attributes.get("run")}
        ended = {found[1] for line in verdict.trace if (found := ENDED.search(line))}
        # Delivery, which ends tasks, is not simulated; warm runs may stand ready at the end.
        elsewhere = {trace.derived("task", task) for task in tasks}
        elsewhere |= {trace.derived("run", run) for run in runs - ended}
        for (within, _), span in made.items():
            up = (within, span.parent)
            assert span.parent is None or up in made or span.parent in elsewhere, f"seed {seed}: {span}"
            for link in span.links:
                to = (trace.trace_id(link), trace.span_id(link))
                assert to in made or to[1] in elsewhere, f"seed {seed}: {span}"
        ended_runs += len(runs & ended)
        seen |= {span.name.partition(" ")[0] for span in kept.spans}
        takeovers += len(kept.spans) - len(made)
    assert {"queue", "run", "setup", "attempt", "instruction", "outcome", "teardown"} <= seen
    assert ended_runs > len(SEEDS) / 2
    assert takeovers, "some were made twice, or nobody was killed"
