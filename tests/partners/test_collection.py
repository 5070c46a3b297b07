"""The Postman collection against the real services, and the files under docs/openapi against what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from docs.partner_apis import openapi
from regente_client import NewTask
from tests.integration.collector.running import Instance
from tests.partners.postman import Runner
from tests.partners.stack import WORKFLOW, Account

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("n", [0, 1], ids=["collector", "delivery"])
def test_the_services_say_what_the_files_say(stack: tuple[Instance, Instance], n: int) -> None:
    service = ("collector", "delivery")[n]
    served = httpx.get(f"{stack[n].url}/openapi.json").json()
    assert served == openapi(service) == json.loads((DOCS / "openapi" / f"{service}.json").read_text("utf-8"))


def test_every_request_of_the_collection_works_as_it_stands(account: Account) -> None:
    with account.client() as client:
        done = client.push(WORKFLOW, [NewTask("done", {"registration": "1"})]).ids["done"]
    evidence = account.finish(done, evidence=b"a picture")[0]["id"]
    collection: dict[str, Any] = json.loads((DOCS / "api" / "regente.postman_collection.json").read_text("utf-8"))
    given = {
        "key": account.key,
        "collector_url": account.collector,
        "delivery_url": account.delivery,
        "evidence_id": evidence,
        "endpoints_name": "orders",
    }
    failed, count = [], 0
    with httpx.Client(timeout=20) as http:
        for ran in Runner(collection, given).run(http):
            count += 1
            # An example's id is nobody's; then only "there is no such thing" may be the answer.
            fine = ran.answer.is_success or (not ran.filled and ran.answer.status_code in (404, 409))
            if not fine:
                failed.append(f"{ran.name}: {ran.answer.status_code} {ran.answer.text[:300]}")
    assert not failed, failed
    assert count == sum(len(folder["item"]) for folder in collection["item"]) >= 10
