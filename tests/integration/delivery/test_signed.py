"""Delivery's API takes signed requests as the collector's does, and refuses a repeated one."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

from shared.runtime.auth import signing_secret
from shared.runtime.signing import signed_payload
from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, Ground, Instance


def test_an_endpoint_is_put_by_a_signed_request_once(delivery: Instance, delivery_ground: Ground) -> None:
    key_id = delivery_ground.key("signing", "endpoints")["Authorization"].split("_")[1]
    secret, sealed = signing_secret(Sealer(MASTER_KEY), key_id)
    delivery_ground.db["keys"].update_one({"_id": key_id}, {"$set": {"signing": sealed}})
    body = json.dumps({"url": "https://partner.example/hook"}).encode()
    at = datetime.now(UTC)
    payload = signed_payload("PUT", "/v1/endpoints/results", body)
    headers = {
        "Regente-Key": key_id,
        "webhook-id": "put-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("put-1", at, payload),
        "content-type": "application/json",
    }
    url = f"{delivery.url}/v1/endpoints/results"
    assert httpx.put(url, content=body, headers=headers).status_code in (200, 201)
    assert httpx.put(url, content=body, headers=headers).status_code == 401
    assert httpx.put(f"{delivery.url}/v1/endpoints/other", content=body, headers=headers).status_code == 401
