"""One-time codes: the RFC's own vectors, and which moment's code an instruction carries."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.totp import MARGIN_S, Totp
from services.executor.secrets import Opened, Secrets, scrubbed
from shared.contracts.catalogue import BadCall
from shared.script.modules import secret_handle, totp_handle

SEEDS = {
    "sha1": b"12345678901234567890",
    "sha256": b"12345678901234567890123456789012",
    "sha512": b"1234567890123456789012345678901234567890123456789012345678901234",
}
VECTORS = [  # RFC 6238, appendix B
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]


@pytest.mark.parametrize(("at_s", "sha1", "sha256", "sha512"), VECTORS)
def test_the_vectors_of_rfc_6238(at_s: int, sha1: str, sha256: str, sha512: str) -> None:
    for algorithm, code in (("sha1", sha1), ("sha256", sha256), ("sha512", sha512)):
        assert Totp(SEEDS[algorithm], 8, 30, algorithm).code(at_s) == code  # type: ignore[arg-type]


TIMES = st.floats(1.6e9, 2.0e9)


@given(TIMES, st.floats(0, 200), st.integers(15, 120))
def test_a_code_is_fresh_when_it_is_first_sent_and_the_same_when_it_is_sent_again(
    asked_s: float, later_s: float, period_s: int
) -> None:
    totp = Totp(SEEDS["sha1"], period_s=period_s)
    first = totp.moment_s(asked_s, asked_s)
    assert asked_s <= first <= asked_s + MARGIN_S
    assert period_s - first % period_s > MARGIN_S - 1e-3
    again = totp.moment_s(asked_s, asked_s + later_s)
    if later_s < period_s:
        assert totp.code(again) == totp.code(first)
    assert again // period_s >= (asked_s + later_s) // period_s - 1


def opened(documents: dict[str, dict[str, Any]], clock_s: float = 59.0) -> Secrets:
    async def open_document(account: str, name: str) -> dict[str, Any] | None:
        return documents.get(name) if account == "acme" else None

    return Secrets(open_document, clock=lambda: clock_s)


TOTP = {
    "kind": "totp", "secret": base64.b32encode(SEEDS["sha1"]).decode(), "digits": 8, "period_s": 30,
    "algorithm": "SHA1",
}  # fmt: skip
DOCUMENTS = {
    "otp": TOTP,
    "token": {"kind": "text", "text": "s3cr3t/token"},
    "login": {"kind": "login", "user": "ann", "password": "hunter2!"},
}


async def resolve(name: str, args: dict[str, Any], at_s: float = 1111111111.0) -> Opened:
    asked_at = datetime.fromtimestamp(at_s, UTC)
    return await opened(DOCUMENTS, at_s).resolve("acme", args, asked_at=asked_at, name=name)


async def test_handles_become_values_where_they_may_stand() -> None:
    args = {
        "method": "GET", "auth": secret_handle("token"),
        "headers": {"X-Code": totp_handle("otp"), "X-Key": secret_handle("token"), "X-Plain": "p"},
        "json": {"password": secret_handle("token")},
    }  # fmt: skip
    found = await resolve("http.request", args)
    assert found.args["auth"] == "s3cr3t/token"
    assert found.args["headers"] == {"X-Code": "14050471", "X-Key": "s3cr3t/token", "X-Plain": "p"}
    assert found.args["json"] == {"password": {"$secret": "token"}}  # deeper down it is only a value like any other
    assert found.secrets == {"s3cr3t/token"}
    filled = await resolve(
        "browser.fill", {"target": {"$object": "code"}, "text": totp_handle("otp")} | {"target": "x"}
    )
    assert filled.args["text"] == "14050471"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("http.request", {"auth": secret_handle("gone")}),
        ("http.request", {"auth": secret_handle("otp")}),
        ("http.request", {"auth": totp_handle("token")}),
        ("http.request", {"headers": {"X": secret_handle("login")}}),
        ("browser.fill", {"text": secret_handle("login")}),
    ],
)
async def test_documents_are_used_for_what_they_are(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(BadCall) as raised:
        await resolve(name, args)
    assert "hunter2" not in str(raised.value)


async def test_another_accounts_document_is_not_there() -> None:
    with pytest.raises(BadCall):
        await opened(DOCUMENTS).resolve("other", {"auth": secret_handle("token")}, asked_at=datetime.now(UTC))


async def test_a_code_about_to_end_is_waited_for() -> None:
    now = [28.5 + 30 * 1000]
    secrets = Secrets(lambda *_: asyncio.sleep(0, TOTP), clock=lambda: now[0])
    began = asyncio.get_running_loop().time()
    found = await secrets.resolve("a", {"text": totp_handle("otp")}, asked_at=datetime.fromtimestamp(now[0], UTC))
    assert asyncio.get_running_loop().time() - began >= 1.4
    assert found.args["text"] == Totp.of(TOTP).code(30 * 1001)


@given(st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=4, max_size=30))
def test_no_form_of_a_secret_is_left(secret: str) -> None:
    forms = [secret, json.dumps(secret)[1:-1], quote(secret), base64.b64encode(secret.encode()).decode()]
    value = {"texts": [f"<{form}>" for form in forms], "names": {f"<{secret}>": 1}, "n": 3}
    assert scrubbed(value, frozenset({secret})) == {"texts": ["<***>"] * 4, "names": {"<***>": 1}, "n": 3}
