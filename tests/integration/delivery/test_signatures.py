"""Webhooks as partners verify them: by the Standard Webhooks project's Python and JavaScript libraries, and by ed25519;
also while a secret or a key is being changed."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.local.settings import read_settings
from tests.integration.delivery.conftest import Account, Got
from tests.javascript import fetch
from tests.unit.shared.domain.test_signature import verify_v1a

SCRIPT = Path(__file__).parents[2] / "javascript" / "verify.mjs"


@pytest.fixture(scope="session")
def javascript() -> list[str]:
    """The command that verifies a webhook in JavaScript."""
    return [fetch.node(), str(SCRIPT), str(fetch.modules(read_settings().home).parent)]


def by_javascript(
    command: list[str], got: Got, *, secret: str | None = None, public: str | None = None, body: str | None = None
) -> dict[str, Any]:
    """What the JavaScript libraries say. Raises: CalledProcessError when they refuse it."""
    asked = {"body": body or got.body.decode(), "headers": got.headers, "secret": secret, "publicKey": public}
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def sent(account: Account) -> Got:
    """The webhook of a task that ends now."""
    before = len(account.side.got(account.path))
    account.until_delivery(account.finish(), "delivered")
    return account.side.got(account.path)[before]


def test_both_libraries_verify_hmac_and_ed25519_stands_beside_it(account: Account, javascript: list[str]) -> None:
    account.endpoint(signatures=["v1", "v1a"])
    (public,) = account.http.get("/v1/endpoints/hook").json()["public_keys"]
    got = sent(account)
    verify_v1a(public, got.headers, got.body.decode())
    answer = by_javascript(javascript, got, secret=account.secret, public=public)
    assert answer == {"content": got.verify(account.secret), "v1a": True}
    with pytest.raises(subprocess.CalledProcessError):
        by_javascript(javascript, got, secret=account.secret, body=got.body.decode() + " ")
    with pytest.raises(WebhookVerificationError):
        Webhook(account.secret).verify(got.body + b" ", got.headers)


def test_ed25519_alone_shares_no_secret(account: Account, javascript: list[str]) -> None:
    made = account.http.put(
        "/v1/endpoints/hook", json={"url": account.side.url + account.path, "signatures": ["v1a"]}
    ).json()
    assert made["secret"] is None
    (public,) = made["public_keys"]
    got = sent(account)
    assert [one[:4] for one in got.headers["webhook-signature"].split(" ")] == ["v1a,"]
    assert by_javascript(javascript, got, public=public)["v1a"] is True


def test_while_a_secret_and_a_key_are_rotated_both_verify_and_then_only_the_new_ones(account: Account) -> None:
    account.endpoint(signatures=["v1", "v1a"])
    first = account.secret
    (old,) = account.http.get("/v1/endpoints/hook").json()["public_keys"]
    rotated = account.http.post("/v1/endpoints/hook/rotate", json={"overlap_s": 3600}).json()
    second, (new, kept) = rotated["secret"], rotated["public_keys"]
    assert (kept, second != first, rotated["overlap_until"] is not None) == (old, True, True)
    got = sent(account)
    assert got.verify(first) == got.verify(second)
    for public in (old, new):
        verify_v1a(public, got.headers, got.body.decode())
    account.db["endpoints"].update_one(
        {"_id": f"{account.name}/hook"}, {"$set": {"overlap_until": datetime(2020, 1, 1, tzinfo=UTC)}}
    )
    later = sent(account)
    later.verify(second)
    verify_v1a(new, later.headers, later.body.decode())
    with pytest.raises(WebhookVerificationError):
        later.verify(first)
    with pytest.raises(InvalidSignature):
        verify_v1a(old, later.headers, later.body.decode())


def test_a_secret_that_leaked_is_replaced_without_overlap(account: Account) -> None:
    account.endpoint()
    rotated = account.http.post("/v1/endpoints/hook/rotate", json={"overlap_s": 0}).json()
    got = sent(account)
    got.verify(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        got.verify(account.secret)
    url = account.http.get("/v1/endpoints/hook").json()["url"]
    both = account.http.put("/v1/endpoints/hook", json={"url": url, "signatures": ["v1", "v1a"]})
    assert both.status_code == 200, both.text
    with pytest.raises(WebhookVerificationError):  # a first key does not let it sign again
        sent(account).verify(account.secret)
    assert account.http.post("/v1/endpoints/none/rotate").status_code == 404
    assert account.http.post("/v1/endpoints/hook/rotate", json={"overlap_s": 9e9}).status_code == 422
