"""The console against its own OpenAPI: short, and the same every time."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error

from tests.integration.console.site import Site

EXAMPLES = 6
LEFT_OUT = r"/api/v1/session|/api/v1/cluster|/api/v1/workflows/check"
"""The log-in has its own limit; the cluster waits for services that don't run here; the check starts processes."""


@pytest.fixture(scope="session")
def api_schema(console: Site) -> schemathesis.BaseSchema:
    """The document as the console serves it."""
    return schemathesis.openapi.from_url(f"{console.url}/openapi.json").exclude(path_regex=LEFT_OUT)


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_fit_the_schema(case: schemathesis.Case, console: Site) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {console.token('ada')}"})


def test_only_the_api_is_documented(console: Site) -> None:
    paths = httpx.get(f"{console.url}/openapi.json").json()["paths"]
    assert all(path.startswith("/api/v1/") or path in ("/healthz", "/readyz", "/metrics") for path in paths)
    assert "/api/v1/tasks/{task}/settle" in paths
    assert not_a_server_error
