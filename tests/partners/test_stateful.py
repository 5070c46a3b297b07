"""schemathesis follows the links of both services: what one answer gives goes into the next call."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    use_after_free,
)

from tests.integration.collector.running import Ground, Instance
from tests.partners.stack import WORKFLOW, Account, add_account

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FOLLOWED = {
    ("collector", "^/v1/"): {"push_tasks 202", "get_task 200", "get_batch 200", "list_tasks 200"},
    ("delivery", "^/v1/endpoints"): {"put_endpoint 201", "get_endpoint 200", "delete_endpoint 204"},
    ("delivery", "^/v1/(results|deliveries)"): {"list_results 200", "acknowledge_results 200", "forget_reader 204"},
}
"""What must have been reached, or the links lead nowhere."""
_numbers = itertools.count()


def aim(case: Any) -> None:
    """Let what is well-formed reach something: a push its workflow, with a task that is taken; an endpoint an address.
    Nobody waits for results."""
    if isinstance(case.query, dict):
        case.query.pop("wait", None)
    if case.operation.label == "PUT /v1/endpoints/{name}" and isinstance(case.body, dict) and "url" in case.body:
        case.body = {"url": "https://erp.example.com/regente"}
    if case.operation.label == "POST /v1/tasks" and isinstance(case.body, dict) and "tasks" in case.body:
        task = {"reference": f"order-{next(_numbers)}", "input": {"registration": "1"}}
        rest = case.body["tasks"] if isinstance(case.body["tasks"], list) else []
        case.body = {"workflow": WORKFLOW, "tasks": [task, *rest[:3]]}


def machine(url: str, new_account: Callable[[], Account], paths: str, seen: Counter[str]) -> Any:
    """A state machine of the links among these paths; each example begins with an account that has nothing, since what
    is drawn depends on what is answered."""
    api = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path_regex=paths)
    # a cancelled task is still there; a removed endpoint is not
    checks = [*CHECKS, use_after_free] if "endpoints" in paths else CHECKS

    class Machine(api.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.key = new_account().key
            if "endpoints" in paths:  # one that stands, for the links that begin at the list
                headers, body = {"Authorization": f"Bearer {self.key}"}, {"url": "https://erp.example.com/regente"}
                httpx.put(f"{url}/v1/endpoints/orders", headers=headers, json=body).raise_for_status()

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {self.key}"}, "timeout": 10}

        def before_call(self, case: Any) -> None:
            aim(case)

        def after_call(self, response: Any, case: Any) -> None:
            seen[f"{case.operation.definition.raw['operationId']} {response.status_code}"] += 1

        def validate_response(self, response: Any, case: Any, additional_checks: Any = (), **kwargs: Any) -> None:
            case.validate_response(response, checks=checks, transport_kwargs=kwargs)

    return Machine


@pytest.mark.parametrize(("service", "paths"), list(FOLLOWED))
def test_every_answer_on_the_way_along_the_links_is_a_documented_one(
    stack: tuple[Instance, Instance], partners_ground: Ground, service: str, paths: str
) -> None:
    collector, delivery = stack
    seen: Counter[str] = Counter()
    url = {"collector": collector.url, "delivery": delivery.url}[service]

    def account() -> Account:
        return add_account(partners_ground, collector.url, delivery.url)

    machine(url, account, paths, seen).run(
        settings=settings(
            max_examples=30 if "endpoints" in paths else 8,
            stateful_step_count=7,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )
    assert FOLLOWED[service, paths] <= seen.keys(), dict(seen)
