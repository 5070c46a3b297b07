"""Rules and configuration of Prometheus: sound by its own checks, and every alert has a test that fires it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.monitoring import rules, slos
from docs.generate import ROOT
from tests.monitoring.conftest import Promtool

PROMETHEUS = ROOT / "deploy" / "prometheus"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def test_configuration_and_rules_are_sound(promtool: Promtool) -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(PROMETHEUS / "rules" / "regente.yml"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(promtool: Promtool, path: Path) -> None:
    promtool("test", "rules", str(path))


def test_every_alert_is_made_to_fire_and_not_to() -> None:
    fired, quiet = set(), set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for asked in test.get("alert_rule_test", ()):
                found = {one["exp_labels"].get("slo", "") for one in asked["exp_alerts"]}
                fired |= {(asked["alertname"], slo) for slo in found}
                quiet |= set() if found else {asked["alertname"]}
    wanted = {(one.name, "") for one in rules.ALERTS} | {("RegenteBudgetBurns", one.name) for one in slos.OBJECTIVES}
    assert fired == wanted
    assert quiet == {name for name, _ in wanted}


def test_every_alert_leads_to_a_page() -> None:
    for one in rules.ALERTS:
        assert (ROOT / "docs" / "runbooks" / f"{one.runbook}.md").is_file(), one.name


def test_a_budget_is_what_the_target_leaves() -> None:
    for one in slos.OBJECTIVES:
        assert one.budget == pytest.approx(1 - one.target)
        # a share of bad events can't be above 1: a burn that asks for more would never fire
        assert all(burn.factor * one.budget < 1 for burn in slos.BURNS), one.name
