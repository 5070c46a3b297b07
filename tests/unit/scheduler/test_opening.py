"""A run's document keeps the environment in which it was opened, whatever the settings say later."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.scheduler.core.opening import Opening, run_document
from shared.domain.gates import account_rules_of, rules_of


@pytest.mark.parametrize(
    ("workflow", "account", "environment"),
    [({"environment": "a"}, {"environment": "b"}, "a"), ({}, {"environment": "b"}, "b"), (None, {}, None)],
)  # fmt: skip
def test_a_run_keeps_its_environment(
    workflow: dict[str, str] | None, account: dict[str, str], environment: str | None
) -> None:
    opening = Opening(
        run="run_1", account="acme", workflow="tax", version="acme/tax/1", scenario="only", worker="w", epoch_before=1,
        tasks=["t"], seed=1, at=datetime(2026, 1, 1, tzinfo=UTC),
        environment=rules_of(workflow).environment or account_rules_of(account).environment,
    )  # fmt: skip
    assert run_document(opening, {"t": 1})["environment"] == environment
