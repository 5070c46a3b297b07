"""mail.send against a mail server of the test, and what a failure at each point means."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hashlib
import socket
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import pytest

from services.executor.server.order import Order
from shared.contracts.messages import Evidence
from shared.mongo.files import Files
from tests.integration.executor.server.certificates import server_context
from tests.integration.executor.server.conftest import Ground, order, told
from tests.integration.executor.server.mail_peer import MailPeer, mail_peer


def send(timeout_s: float = 30, seq: int = 7, **more: Any) -> Order:
    given = {"to": "ann@acme.example", "subject": "Done", "text": "All of it.\n.\n", **more}
    return order("mail.send", timeout_s=timeout_s, seq=seq, **given)


def plain(peer: MailPeer) -> str:
    return f"smtp://127.0.0.1:{peer.port}?starttls=no"


def parsed(data: bytes) -> EmailMessage:
    undotted = data.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
    found = email.message_from_bytes(undotted, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


async def test_a_mail_arrives_as_it_was_written(place: Ground) -> None:
    async with mail_peer() as peer:
        server = place.server(smtp=plain(peer))
        asked = send(to=["ann@acme.example", "bob@acme.example"], subject="Certidão nº 1", html="<p>All</p>")
        answer = await server.perform(asked)
        again = await server.perform(asked)
    assert told(answer) == ("done", "")
    assert answer.value == again.value == {"message_id": "<run_1.7@acme.example>"}
    assert peer.sender.startswith("MAIL FROM:<robots@acme.example>")
    assert [line.partition(":")[2] for line in peer.recipients[:2]] == ["<ann@acme.example>", "<bob@acme.example>"]
    mail = parsed(peer.taken[0])
    assert (mail["subject"], mail["message-id"]) == ("Certidão nº 1", "<run_1.7@acme.example>")
    body, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert body is not None
    assert html is not None
    assert body.get_content().replace("\r\n", "\n") == "All of it.\n.\n"
    assert html.get_content().strip() == "<p>All</p>"


async def test_evidence_of_the_account_can_go_along(place: Ground) -> None:
    data = b"%PDF-1.7 receipt"
    digest = hashlib.sha256(data).hexdigest()
    proof = Evidence(
        name="receipt", media_type="application/pdf", sha256=digest, size_bytes=len(data),
        data=base64.b64encode(data).decode(),
    )  # fmt: skip
    link = {"account": "acme", "workflow": "tax", "task": "task_1", "run": "run_1", "seq": 3, "worker": "w"}
    (kept,) = await place.evidence.keep([proof], link=link)
    others = {**link, "account": "other", "run": "run_2"}
    foreign = proof.model_copy(
        update={"sha256": hashlib.sha256(b"x").hexdigest(), "data": base64.b64encode(b"x").decode()}
    )
    (theirs,) = await place.evidence.keep([foreign], link=others)
    async with mail_peer() as peer:
        server = place.server(smtp=plain(peer))
        assert told(await server.perform(send(attachments=[kept["id"], digest]))) == ("done", "")
        for missing in (theirs["id"], foreign.sha256, "ev_nothing", "receipt"):
            assert told(await server.perform(send(attachments=[missing]))) == ("error", "NOT_FOUND")
    files = list(parsed(peer.taken[0]).iter_attachments())
    assert [(one.get_filename(), one.get_content()) for one in files] == [("receipt.pdf", data)] * 2
    assert len(peer.taken) == 1


async def test_a_file_that_a_partner_handed_in_can_go_along(place: Ground) -> None:
    async def pieces(data: bytes) -> AsyncIterator[bytes]:
        yield data

    files = Files(place.mongo)
    ours = await files.put("acme", "power of attorney.pdf", "application/pdf", pieces(b"%PDF-1.7 attorney"))
    theirs = await files.put("other", "secret.pdf", "application/pdf", pieces(b"%PDF-1.7 secret"))
    async with mail_peer() as peer:
        server = place.server(smtp=plain(peer))
        assert told(await server.perform(send(attachments=[ours["_id"]]))) == ("done", "")
        for missing in (theirs["_id"], f"file_{'0' * 32}"):
            assert told(await server.perform(send(attachments=[missing]))) == ("error", "NOT_FOUND")
    (sent,) = parsed(peer.taken[0]).iter_attachments()
    assert (sent.get_filename(), sent.get_content()) == ("power of attorney.pdf", b"%PDF-1.7 attorney")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("refuse-recipient", ("error", "FAILED")),
        ("refuse-data", ("error", "FAILED")),
        ("refuse-message", ("error", "FAILED")),
        ("drop-before-354", ("in_doubt", "FAILED")),
        ("drop-after-354", ("in_doubt", "FAILED")),
        ("drop-after-message", ("in_doubt", "FAILED")),
        ("silent", ("in_doubt", "TIMEOUT")),
    ],
)
async def test_only_the_servers_word_says_that_nothing_was_sent(
    place: Ground, fault: str, outcome: tuple[str, str]
) -> None:
    async with mail_peer(fault=fault) as peer:
        timeout_s = 2.0 if fault == "silent" else 30.0
        to = ["ann@acme.example", "nobody@acme.example"]
        answer = await place.server(smtp=plain(peer)).perform(send(to=to, timeout_s=timeout_s))
    assert told(answer) == outcome
    assert peer.taken == []
    assert ("DATA" in peer.commands) == (fault != "refuse-recipient")


async def test_log_in_goes_over_tls_only(place: Ground) -> None:
    async with mail_peer(tls=server_context("localhost"), login=("ann", "hunter2")) as peer:
        answer = await place.server(smtp=f"smtp://ann:hunter2@localhost:{peer.port}").perform(send())
        assert told(answer) == ("done", "")
        assert (peer.secured, peer.logged_in) == (True, True)
    async with mail_peer(login=("ann", "hunter2")) as bare:  # it offers no STARTTLS
        answer = await place.server(smtp=f"smtp://ann:hunter2@localhost:{bare.port}").perform(send())
        assert told(answer) == ("error", "FAILED")
        assert "AUTH" not in bare.commands
    async with mail_peer(tls=server_context("elsewhere.test"), login=("ann", "hunter2")) as false:
        answer = await place.server(smtp=f"smtp://ann:hunter2@localhost:{false.port}").perform(send())
        assert told(answer) == ("error", "FAILED")
        assert answer.error is not None
        assert "certificate" in answer.error.message
        assert "AUTH" not in false.commands
    async with mail_peer(tls=server_context("localhost"), login=("ann", "other")) as other:
        answer = await place.server(smtp=f"smtp://ann:hunter2@localhost:{other.port}").perform(send())
        assert told(answer) == ("error", "FAILED")
        assert "hunter2" not in str(answer)


@pytest.mark.parametrize(
    "more",
    [
        {"to": []}, {"to": "ann@acme.example\r\nBcc: x@y.z"}, {"to": ["ann@acme.example, x@y.z"]}, {"to": 3},
        {"subject": "a\r\nBcc: x@y.z"}, {"subject": ""}, {"text": None}, {"attachments": ["x"] * 21},
        {"to": [f"a{n}@b.c" for n in range(51)]}, {"text": "\ud800"}, {"cc": "x@y.z"}, {"text": "x" * 1_048_577},
    ],
)  # fmt: skip
async def test_what_can_not_be_sent_is_said_before_anybody_is_called(place: Ground, more: dict[str, Any]) -> None:
    async with mail_peer() as peer:
        assert told(await place.server(smtp=plain(peer)).perform(send(**more))) == ("error", "BAD_ARGUMENT")
        assert peer.commands == []


async def test_no_mail_server(place: Ground) -> None:
    assert told(await place.server().perform(send())) == ("error", "NOT_ALLOWED")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    server = place.server(smtp=f"smtp://127.0.0.1:{port}?starttls=no")
    assert told(await server.perform(send())) == ("error", "FAILED")


async def test_cancelling_ends_the_conversation(place: Ground) -> None:
    async with mail_peer(fault="silent") as peer:
        sending = asyncio.create_task(place.server(smtp=plain(peer)).perform(send()))
        await peer.received.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
