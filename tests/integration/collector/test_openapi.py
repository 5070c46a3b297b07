"""The collector holds what its OpenAPI promises: schemathesis asks, derandomised, for a short while."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.collector.conftest import SCHEMA, add_workflow, item
from tests.integration.collector.running import Ground, Instance

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
OPERATIONS = [
    ("POST", "/v1/tasks"),
    ("GET", "/v1/tasks"),
    ("GET", "/v1/tasks/{id}"),
    ("DELETE", "/v1/tasks/{id}"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/{id}"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/{id}"),
    ("GET", "/v1/evidence/{id}"),
]


@pytest.fixture(scope="module")
def headers(collector_ground: Ground) -> dict[str, str]:
    """A key of an account with a workflow."""
    add_workflow(collector_ground, "fuzzed", "tax", SCHEMA)
    return collector_ground.key("fuzzed", "tasks")


@pytest.fixture(scope="module")
def known(collector: Instance, headers: dict[str, str]) -> dict[str, str]:
    """Ids that exist, by the path that takes them."""
    push = {"workflow": "tax", "tasks": [item("known")]}
    answer = httpx.post(f"{collector.url}/v1/tasks", json=push, headers=headers).json()
    file = httpx.post(f"{collector.url}/v1/files?name=a", content=b"known", headers=headers).json()["id"]
    return {"/v1/tasks/{id}": answer["accepted"][0]["id"], "/v1/batches/{id}": answer["batch"], "/v1/files/{id}": file}


@pytest.fixture(scope="module")
def api(collector: Instance) -> Any:
    """What the running service says about itself."""
    return schemathesis.openapi.from_url(f"{collector.url}/openapi.json")


def aim(case: Any, known: dict[str, str]) -> None:
    """Let well-formed requests reach what is there: a workflow, and (but for the slow DELETE) a task and a batch."""
    if case.method == "POST" and case.path == "/v1/tasks":
        if isinstance(case.body, dict):
            case.body["workflow"] = "tax"
        else:
            case.query["workflow"] = "tax"
    elif case.method == "GET" and case.path in known:
        case.path_parameters["id"] = known[case.path]


def checks_of(case: Any) -> list[Any]:
    """Of a name that is given twice in a query the last one counts: the first one is not looked at, so can't be bad."""
    twice = any(isinstance(value, list) for value in (case.query or {}).values())
    return [check for check in CHECKS if not (twice and check is negative_data_rejection)]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_a_documented_one(
    api: Any, headers: dict[str, str], known: dict[str, str], method: str, path: str, mode: GenerationMode
) -> None:
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            aim(case, known)
        case.call_and_validate(headers=headers, checks=checks_of(case), timeout=10)

    ask()


def test_every_operation_is_described_with_its_errors(collector: Instance) -> None:
    described = httpx.get(f"{collector.url}/openapi.json").json()["paths"]
    operations = {
        (method.upper(), path): set(operation["responses"])
        for path, methods in described.items()
        if path.startswith("/v1/")
        for method, operation in methods.items()
    }
    assert operations.keys() == set(OPERATIONS)
    assert all({"401", "403", "422", "503"} <= responses for responses in operations.values())
    assert all("429" in responses for responses in operations.values())
    assert operations["POST", "/v1/tasks"] >= {"202", "400", "404", "408", "409", "413", "415"}
    assert operations["POST", "/v1/files"] >= {"200", "201", "400", "409", "413"}
    assert operations["GET", "/v1/tasks/{id}"] >= {"200", "404", "410"}
    content = described["/v1/tasks"]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "application/x-ndjson"}
    assert {"HTTPBearer": []} in described["/v1/tasks"]["post"]["security"]
    assert {"Signed": []} in described["/v1/tasks"]["post"]["security"]
