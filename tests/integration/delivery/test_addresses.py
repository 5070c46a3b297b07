"""Where webhooks may go: the check that counts is the one at the attempt, after the name was looked up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from services.delivery.channels.webhook import Webhook
from services.delivery.core.outcome import Answer, Meaning, after_attempt, meaning
from shared.domain.addresses import networks
from shared.domain.delivery_state import DeliveryState
from shared.domain.endpoint import SECRET_PURPOSE, secret_text
from shared.outbound import Outbound, tls_context
from shared.outbound.resolver import Resolver
from shared.seal import Sealer
from tests.integration.delivery.conftest import Account, PartnerSide
from tests.integration.executor.server.certificates import authority, server_context

SEALER = Sealer(bytes(range(32)))
NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
DELIVERY = {"_id": "t:hook:succeeded", "webhook_id": "msg_1", "body": "{}", "event": "succeeded"}


def endpoint(url: str) -> dict[str, Any]:
    """As the database holds it."""
    secret = SEALER.seal(SECRET_PURPOSE, secret_text(b"x" * 32).encode(), b"acme/hook")
    return {"_id": "acme/hook", "url": url, "secrets": [secret]}


class Names:
    """A name server that changes its mind: it answers with one list after the other, then with the last one."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(0, 0, 0, "", (address, port)) for address in found]


async def attempt(url: str, names: Names, allowed: str = "", ca_file: str = "") -> Answer:
    """One attempt with names looked up there."""
    outbound = Outbound(Resolver(networks(allowed), names), tls_context(ca_file), connect_s=2)
    channel = Webhook(outbound, SEALER, timeout_s=5)
    try:
        answer, record = await channel.attempt(endpoint(url), DELIVERY)
    finally:
        channel.close()
    assert record["error"] is not None or answer.status == 200
    return answer


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.7"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"], ["93.184.216.34", "10.0.0.7"]],
)
async def test_a_name_that_leads_into_our_own_network_gets_nothing(side: PartnerSide, addresses: list[str]) -> None:
    port, before = side.url.rpartition(":")[2], len(side.got("/x"))
    answer = await attempt(f"http://partner.example:{port}/x", Names(addresses))
    assert (answer.status, "public ones only" in answer.error) == (None, True)
    assert len(side.got("/x")) == before
    following = after_attempt(answer, schedule=[60], failed_before=0, now=NOW, jitter=0)
    assert (meaning(answer), following.state) == (Meaning.FAILED, DeliveryState.RETRYING)


async def test_a_name_that_changes_its_mind_after_the_check_changes_nothing(side: PartnerSide) -> None:
    """DNS rebinding: the address that was checked is the one that is called; nobody looks it up a second time."""
    port = side.url.rpartition(":")[2]
    names = Names(["127.0.0.1"], ["10.255.255.1"])
    answer = await attempt(f"http://rebinding.example:{port}/rebound", names, allowed="127.0.0.0/8")
    assert (answer.status, names.asked) == (200, 1)
    (got,) = side.got("/rebound")
    assert got.headers["host"] == f"rebinding.example:{port}"
    again = await attempt(f"http://rebinding.example:{port}/rebound", names, allowed="127.0.0.0/8")
    assert "public ones only" in again.error
    assert len(side.got("/rebound")) == 1


class _Away(BaseHTTPRequestHandler):
    """Sends everybody to the machine's own keys."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(307)
        self.send_header("location", "http://169.254.169.254/latest/meta-data")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def listening(name: str = "") -> Iterator[int]:
    """Its port; with a name by TLS, with a certificate for that name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Away) as server:
        if name:
            server.socket = server_context(name).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


async def test_a_redirect_into_our_own_network_is_an_answer_like_others() -> None:
    names = Names(["127.0.0.1"])
    with listening() as port:
        answer = await attempt(f"http://partner.example:{port}/", names, allowed="127.0.0.0/8")
    assert (answer.status, names.asked) == (307, 1)
    assert meaning(answer) is Meaning.FAILED


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "2130706433", "0x7f.1", "0177.0.0.1", "[::ffff:10.0.0.1]", "[fd00::1]"]
)
def test_a_forbidden_address_is_refused_when_the_endpoint_is_put(account: Account, host: str) -> None:
    answer = account.http.put("/v1/endpoints/hook", json={"url": f"https://{host}/hook"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"] == "/url"


async def test_certificates_are_checked_against_the_name_and_the_authorities_that_are_trusted(tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority().pem, encoding="ascii")
    with listening("partner.example") as port:

        async def asked(host: str, ca_file: str) -> Answer:
            return await attempt(f"https://{host}:{port}/", Names(["127.0.0.1"]), "127.0.0.0/8", ca_file)

        unknown = await asked("partner.example", "")
        assert (unknown.status, "certificate is not accepted" in unknown.error) == (None, True)
        other = await asked("other.example", str(trusted))
        assert (other.status, "certificate is not accepted" in other.error) == (None, True)
        assert (await asked("partner.example", str(trusted))).status == 307
