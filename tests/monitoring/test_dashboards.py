"""Dashboards as data: what Grafana would refuse or show badly. That no query is empty is seen in tests/e2e."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.monitoring.dashboards import DASHBOARDS, Dashboard, Panel, Query, files, text
from deploy.monitoring.rules import ALERTS, RECORDED
from deploy.monitoring.slos import RATIO
from docs.metric_catalogue import metrics

OURS = re.compile(r"(?<![:a-z_])regente_[a-z_]+")
RECORDS = re.compile(r"[a-z_]+:regente_[a-z_]+:[a-z0-9_]+")


def panels(page: Dashboard) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text(page))["panels"]
    return found


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


@given(st.lists(st.tuples(st.sampled_from(["stat", "timeseries"]), st.sampled_from([6, 12, 24])), max_size=30))
def test_panels_never_overlap_and_stay_on_the_page(kinds: list[tuple[str, int]]) -> None:
    page = Dashboard("x", "x", [Panel("p", (Query("up"),), kind=kind, width=width) for kind, width in kinds])
    places = [panel["gridPos"] for panel in panels(page)]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert not any(overlap(one, other) for one, other in combinations(places, 2))


def test_pages_are_told_apart() -> None:
    assert len({page.uid for page in DASHBOARDS}) == len({page.title for page in DASHBOARDS}) == len(files()) == 6


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_a_page_names_what_there_is(page: Dashboard) -> None:
    known = {one.name + end for one in metrics() for end in ("", "_bucket", "_count", "_sum")}
    for panel in page.panels:
        assert panel.title
        assert len({query.legend for query in panel.queries}) == len(panel.queries), "lines that look alike"
        for query in panel.queries:
            assert set(OURS.findall(query.expr)) <= known, query.expr
            recorded = {name for name in RECORDS.findall(query.expr) if not name.startswith(RATIO)}
            assert recorded <= set(RECORDED), query.expr
            assert set(re.findall(r"\$(\w+)", query.expr)) <= set(page.variables), query.expr


def test_rules_name_what_there_is() -> None:
    known = {one.name + end for one in metrics() for end in ("", "_bucket", "_count", "_sum")}
    for expr in [*RECORDED.values(), *(one.value for one in ALERTS)]:
        assert set(OURS.findall(expr)) <= known, expr
