"""Results as files: by mail, by SFTP, in a folder; one by one or collected; again after a crash."""

from __future__ import annotations

import asyncio
import csv
import email.policy
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.integration.collector.running import Ground, Instance, ground, launch, running, until, wait_ready
from tests.integration.delivery.conftest import ENV, Account, PartnerSide, opened
from tests.integration.delivery.peers import PASSWORD, Loop, SftpPeer, endpoint, evidence, secret, sftp_peer
from tests.integration.executor.server.mail_peer import MailPeer


@dataclass
class Peers:
    """Where files can go, and the process that sends them."""

    mail: MailPeer
    sftp: SftpPeer
    root: Path
    instance: Instance
    env: dict[str, str]
    ground: Ground


@pytest.fixture(scope="module")
def peers(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """A mail server, an SFTP server, a folder, and a delivery process that may use them, on a ground of its own: no
    other process may take its deliveries."""
    loop, mail = Loop(), MailPeer()
    root, remote = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("remote")
    (remote / "in").mkdir()
    with ExitStack() as stack:
        stack.callback(loop.close)
        own = stack.enter_context(ground(servers.amqp, servers.amqp_admin, servers.mongo))

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(mail.serve, "127.0.0.1", 0)

        server = loop.run(listen())
        stack.callback(lambda: loop.loop.call_soon_threadsafe(server.close))
        mail.port = server.sockets[0].getsockname()[1]
        sftp = stack.enter_context(sftp_peer(loop, remote))
        env = {
            **ENV,
            "REGENTE_SMTP_URL": f"smtp://127.0.0.1:{mail.port}?starttls=no",
            "REGENTE_MAIL_FROM": "robots@regente.example",
            "REGENTE_DELIVERY_FOLDER": str(root),
            "REGENTE_DELIVERY_PRIVATE_ALLOWED": "127.0.0.0/8",
            "REGENTE_DELIVERY_FILES_TIMEOUT_S": "10",
        }
        folder = tmp_path_factory.mktemp("channels")
        instance = stack.enter_context(running("delivery", own, folder, "delivery-4", **env))
        yield Peers(mail, sftp, root, instance, env, own)


@pytest.fixture
def account(peers: Peers, side: PartnerSide) -> Iterator[Account]:
    """A new account; its endpoint is made by the test."""
    with opened(peers.instance, peers.ground, side) as made:
        yield made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_result_goes_by_mail_with_its_evidence(account: Account, peers: Peers) -> None:
    endpoint(account, "mail", to=["ann@acme.example"], language="pt_BR", evidence="files")
    picture = evidence(peers.ground, account.name, "task_1", b"\x89PNG picture of the mail")
    before = len(peers.mail.taken)
    id = account.finish(evidence=[picture])
    delivered = account.until_delivery(id, "delivered")
    mail = email.message_from_bytes(peers.mail.taken[before], _class=EmailMessage, policy=email.policy.default)
    assert mail["Subject"] == f"{id}: concluída"
    assert (mail["To"], mail["From"]) == ("ann@acme.example", "robots@regente.example")
    assert mail["Message-ID"] == f"<{delivered['webhook_id']}@regente.example>"
    attached = {part.get_filename(): part.get_content() for part in mail.iter_attachments()}
    assert sorted(name.rpartition(".")[2] for name in attached) == ["json", "png"]
    result = next(content for name, content in attached.items() if name.endswith(".json"))
    assert json.loads(result)["data"]["id"] == id
    assert b"\x89PNG picture of the mail" in attached.values()
    assert (delivered["attempts"][0]["status"], delivered["attempts"][0]["answer"]) == (250, mail["Message-ID"])


def test_a_mail_that_nobody_said_was_taken_is_sent_again_under_the_same_id(account: Account, peers: Peers) -> None:
    endpoint(account, "mail", to=["ann@acme.example"])
    before, peers.mail.fault = len(peers.mail.commands), "drop-after-message"
    id = account.finish()
    until(lambda: (account.delivery(id) or {}).get("attempts_made"), "a first attempt")
    peers.mail.fault = ""
    delivered = account.until_delivery(id, "delivered")
    assert "did not say whether" in delivered["attempts"][0]["error"]
    assert delivered["webhook_id"] in peers.mail.taken[-1].decode()
    assert peers.mail.commands[before:].count("DATA") >= 2


@pytest.mark.parametrize("by", ["password", "key"])
def test_a_result_is_a_file_on_an_sftp_server(account: Account, peers: Peers, by: str) -> None:
    key = peers.sftp.client_key.export_private_key().decode()
    secret(account, "sftp/acme", PASSWORD if by == "password" else key)
    folder = peers.sftp.root / "in" / account.name
    folder.mkdir()
    endpoint(
        account, "sftp", host="127.0.0.1", port=peers.sftp.port, user="acme", document="sftp/acme",
        host_key=peers.sftp.host_key, folder=f"/in/{account.name}", evidence="files",
    )  # fmt: skip
    picture = evidence(peers.ground, account.name, "task_1", f"picture {by}".encode())
    account.finish(reference="inv/1", _id=f"task_{account.name}", evidence=[picture])
    delivered = account.until_delivery(f"task_{account.name}", "delivered")
    result, proof = [name for name in names(folder) if name.endswith(".json")], names(folder)
    assert len(proof) == 2
    assert result == [delivered["attempts"][0]["answer"]]
    assert result[0].startswith("tax_inv-1_task.succeeded_")
    assert json.loads((folder / result[0]).read_text()) == json.loads(delivered["body"])
    assert peers.sftp.logins[-1] == by
    inodes = {name: (folder / name).stat().st_ino for name in proof}
    # a repeat, also against a server that knows no overwriting rename: the same file again, and nothing beside it
    peers.sftp.posix_rename = by == "key"
    try:
        account.db["deliveries"].update_one({"_id": delivered["_id"]}, {"$set": {"state": "dead"}})
        assert account.command("delivery.replay", {"ids": [delivered["_id"]]})["state"] == "done"
        account.until_delivery(f"task_{account.name}", "delivered")
    finally:
        peers.sftp.posix_rename = True
    assert names(folder) == proof
    again = [name for name in proof if (folder / name).stat().st_ino != inodes[name]]
    assert again == result, "evidence that is there already is not written again"


def test_another_host_key_gets_nothing_not_even_the_password(account: Account, peers: Peers) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    secret(account, "sftp/acme", PASSWORD)
    endpoint(account, "sftp", host="127.0.0.1", port=peers.sftp.port, user="acme", document="sftp/acme", host_key=other)
    before = len(peers.sftp.logins)
    dead = account.until_delivery(account.finish(), "dead")
    assert "host key" in dead["reason"]
    assert len(peers.sftp.logins) == before


def test_an_address_inside_is_not_called(account: Account, peers: Peers) -> None:
    secret(account, "sftp/acme", PASSWORD)
    endpoint(account, "sftp", host="10.1.2.3", port=22, user="acme", document="sftp/acme", host_key=peers.sftp.host_key)
    dead = account.until_delivery(account.finish(), "dead")
    assert "private" in dead["reason"]


def test_a_missing_folder_or_document_is_said(account: Account, peers: Peers) -> None:
    where = {"host": "127.0.0.1", "port": peers.sftp.port, "user": "acme", "host_key": peers.sftp.host_key}
    endpoint(account, "sftp", **where, document="sftp/none")
    assert "no document 'sftp/none'" in account.until_delivery(account.finish(), "dead")["reason"]
    secret(account, "sftp/acme", "wrong password")
    endpoint(account, "sftp", **where, document="sftp/acme")
    assert "refuses our log-in" in account.until_delivery(account.finish(), "dead")["reason"]
    secret(account, "sftp/acme", PASSWORD)
    endpoint(account, "sftp", **where, document="sftp/acme", folder="/nowhere")
    assert "no folder /nowhere" in account.until_delivery(account.finish(), "dead")["reason"]


def test_a_result_is_a_file_in_the_accounts_folder_and_nowhere_else(account: Account, peers: Peers) -> None:
    endpoint(account, "folder", path="results/tax", format="csv")
    delivered = account.until_delivery(account.finish(), "delivered")
    folder = peers.root / account.name / "results" / "tax"
    assert names(folder) == [delivered["attempts"][0]["answer"]]
    outside = peers.root / "outside"
    outside.mkdir(exist_ok=True)
    (peers.root / account.name / "link").symlink_to(outside)
    endpoint(account, "folder", path="link")
    dead = account.until_delivery(account.finish(), "dead")
    assert "leads out" in dead["reason"]
    assert names(outside) == []


def test_endpoints_of_these_kinds_are_made_over_the_api(account: Account, peers: Peers) -> None:
    where = "/v1/endpoints/hook"
    made = account.http.put(where, json={"kind": "folder", "options": {"path": "api", "format": "ndjson"}})
    assert made.status_code == 201, made.text
    account.until_delivery(account.finish(), "delivered")
    assert len(names(peers.root / account.name / "api")) == 1
    for kind, options, path in (
        ("folder", {"path": "../x"}, "/options/path"),
        ("sftp", {"host": "h", "user": "u", "document": "portal/login", "host_key": "k"}, "/options/document"),
        ("sftp", {"host": "h", "user": "u", "document": "sftp/a", "host_key": "ssh-rsa x"}, "/options/host_key"),
        ("mail", {"to": ["nobody"]}, "/options/to"),
    ):
        refused = account.http.put(where, json={"kind": kind, "options": options})
        assert refused.status_code == 422, refused.text
        assert [error["path"] for error in refused.json()["errors"]] == [path]
    by_operators = account.http.put(where, json={"kind": "mail", "options": {"to": ["ann@acme.example"]}})
    assert (by_operators.status_code, "administrators" in by_operators.json()["detail"]) == (403, True)
    endpoint(account, "mail", to=["ann@acme.example"])
    hook = {"url": "https://erp.example.com/"}
    for call in (account.http.put(where, json=hook), account.http.delete(where), account.http.post(f"{where}/test")):
        assert call.status_code == 403, call.text


def test_results_are_collected_into_a_file_that_is_tried_again_until_it_is_written(
    account: Account, peers: Peers
) -> None:
    blocked = peers.root / account.name
    blocked.mkdir()
    blocked.chmod(0o500)
    (blocked / "out").write_text("in the way of the folder")
    endpoint(account, "folder", path="out", format="csv", collect={"every_s": 3600, "items_max": 3})
    ids = [account.finish() for _ in range(4)]
    query = {"account": account.name, "event": "file"}
    file = until(lambda: account.db["deliveries"].find_one({**query, "state": "dead"}), "the file is given up")
    until(lambda: account.db["deliveries"].count_documents({"file": file["_id"], "state": "dead"}) == 3, "told")
    blocked.chmod(0o700)
    (blocked / "out").unlink()
    account.command("delivery.replay", {"ids": [file["_id"]]})
    until(lambda: account.db["deliveries"].find_one({**query, "state": "delivered"}), "the file is written")
    until(lambda: account.db["deliveries"].count_documents({"file": file["_id"], "state": "delivered"}) == 3, "told")
    (written,) = names(blocked / "out")
    rows = list(csv.DictReader(io.StringIO((blocked / "out" / written).read_text("utf-8-sig"), newline="")))
    waiting = account.db["deliveries"].find_one({"account": account.name, "collect": True})
    assert waiting is not None
    assert sorted([row["id"] for row in rows] + [waiting["task"]]) == sorted(ids)
    assert waiting["state"] == "pending"
    # the endpoint collects no longer: what waits is due
    endpoint(account, "folder", path="out", format="ndjson")
    until(lambda: account.db["deliveries"].count_documents({**query, "state": "delivered"}) == 2, "the rest")
    assert len(names(blocked / "out")) == 2


def test_killed_while_results_are_collected_each_is_in_one_file(
    peers: Peers, side: PartnerSide, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("second")
    second = launch("delivery", peers.ground, folder, "delivery-5", **peers.env)
    try:
        wait_ready(second)
        with opened(second, peers.ground, side) as account:
            endpoint(account, "folder", format="ndjson", collect={"every_s": 3600, "items_max": 5})
            ids = [account.finish() for _ in range(50)]
            until(lambda: names(peers.root / account.name), "a first file")
            second.kill()

            def written() -> dict[str, str]:
                found = peers.root / account.name
                lines = [
                    (json.loads(line)["data"]["id"], name)
                    for name in names(found)
                    if not name.startswith(".")
                    for line in (found / name).read_text().splitlines()
                ]
                assert len(lines) == len(dict(lines)), "a result is in two files"
                return dict(lines)

            # what it had claimed falls to others when its time limit and the grace have passed
            until(lambda: len(written()) == 50, "all results are in files", 60.0)
            assert set(written()) == set(ids)
    finally:
        if second.process.poll() is None:
            second.kill()
