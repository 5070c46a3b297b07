"""The console against its own OpenAPI: short, and the same every time."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.console.site import Site

EXAMPLES = 60
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LEFT_OUT = r"/api/v1/session|/api/v1/cluster|/api/v1/workflows/(check|replay)"
"""The log-in has its own limit; the cluster waits for services that don't run here; check and replay start processes.
"""


@pytest.fixture(scope="session")
def operations(console: Site) -> list[Any]:
    """Every operation of the document that the console serves, but for a few."""
    schema = schemathesis.openapi.from_url(f"{console.url}/openapi.json").exclude(path_regex=LEFT_OUT)
    found = [one.ok() for one in schema.get_all_operations()]
    assert len(found) > 30
    return found


@pytest.mark.parametrize("part", range(4))
def test_answers_fit_the_schema(operations: list[Any], console: Site, part: int) -> None:
    headers = {"Authorization": f"Bearer {console.token('ada')}"}
    cases = st.one_of([one.as_strategy() for one in operations[part::4]])

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def answers(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    answers()


def test_only_the_api_is_documented(console: Site) -> None:
    paths = httpx.get(f"{console.url}/openapi.json").json()["paths"]
    assert all(path.startswith("/api/v1/") for path in paths)
    assert "/api/v1/tasks/{task}/settle" in paths


def test_every_shape_that_is_referred_to_is_there(console: Site) -> None:
    """The shape of errors was not, which tools that make clients refuse."""
    document = httpx.get(f"{console.url}/openapi.json").json()
    referred = set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(document)))
    assert "ProblemBody" in referred
    assert referred <= document["components"]["schemas"].keys()
