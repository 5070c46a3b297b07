"""The portal over real TLS: who gets in, what a submission leaves behind, how the switches misbehave."""

from __future__ import annotations

import os
import re
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from demo.portal.pki import ensure_pki
from tests.demo.servers import Server

KNOWN = "10.482.113/0001-07"
FORM = {"registration": KNOWN, "kind": "clearance", "period": "2026-10", "reference": "t-1"}


def _counts(client: httpx.Client) -> dict[str, int]:
    counts: dict[str, int] = client.get("/_demo/submits").json()["by_registration"]
    return counts


def test_without_a_certificate_the_log_in_page_refuses(portal: Server) -> None:
    with httpx.Client(base_url=portal.url, verify=portal.context(None)) as client:
        for answer in (client.get("/login"), client.post("/login")):
            assert answer.status_code == 403
            assert "did not present a certificate" in answer.text
        assert client.get("/search").headers["location"] == "/login"


def test_a_certificate_of_another_authority_does_not_get_through_the_handshake(portal: Server, tmp_path: Path) -> None:
    ensure_pki(tmp_path, datetime.now(UTC))
    context = portal.context(None)
    context.load_cert_chain(tmp_path / "acme.pem")
    with (
        httpx.Client(base_url=portal.url, verify=context) as client,
        pytest.raises((httpx.TransportError, ssl.SSLError)),
    ):
        client.get("/login")


@pytest.mark.parametrize(
    ("name", "organisation"), [("acme", "Acme Accounting Ltd"), ("globex", "Globex Payroll Services")]
)
def test_the_log_in_page_shows_whose_certificate_came(portal: Server, name: str, organisation: str) -> None:
    with httpx.Client(base_url=portal.url, verify=portal.context(name)) as client:
        page = client.get("/login").text
    assert f'id="certificate-holder">{organisation}<' in page
    assert f'id="certificate-name">{name}<' in page


def test_a_session_is_worth_nothing_with_another_certificate(portal: Server, acme: httpx.Client) -> None:
    with httpx.Client(base_url=portal.url, verify=portal.context("globex"), cookies=acme.cookies) as thief:
        assert thief.get("/search").headers["location"] == "/login"


def test_log_out_ends_the_session(portal: Server, acme: httpx.Client) -> None:
    cookies = dict(acme.cookies)
    acme.post("/logout")
    with httpx.Client(base_url=portal.url, verify=portal.context("acme"), cookies=cookies) as again:
        assert again.get("/search").headers["location"] == "/login"


def test_search_tells_known_from_unknown(acme: httpx.Client) -> None:
    found = acme.get("/search", params={"registration": KNOWN})
    assert found.status_code == 200
    assert "Harbour Lights Shipping" in found.text
    assert 'href="/taxpayers/10482113000107"' in found.text
    unknown = acme.get("/search", params={"registration": "99.999.999/0001-99<script>"})
    assert unknown.status_code == 404
    assert 'id="unknown-registration"' in unknown.text
    assert "<script>" not in unknown.text


def test_every_submission_counts_and_gets_its_own_protocol(acme: httpx.Client) -> None:
    pages = [acme.post("/certificates", data=FORM).text for _ in range(2)]
    protocols = {re.search(r'id="protocol">([\d.]+)<', page)[1] for page in pages}  # type: ignore[index]
    assert len(protocols) == 2
    shown = acme.get("/_demo/submits").json()
    assert shown["by_registration"] == {"10482113000107": 2}
    assert shown["by_reference"] == {"t-1": 2}
    assert acme.get("/_demo/submits", params={"after": shown["last"]}).json()["total"] == 0


@pytest.mark.parametrize("wrong", [{"kind": "gold"}, {"period": "2026-13"}, {"reference": "x" * 81}])
def test_a_form_with_a_mistake_is_shown_again_and_not_counted(acme: httpx.Client, wrong: dict[str, str]) -> None:
    answer = acme.post("/certificates", data={**FORM, **wrong})
    assert answer.status_code == 422
    assert f'id="{next(iter(wrong))}-error"' in answer.text
    assert _counts(acme) == {}


def test_the_receipt_is_a_pdf_whose_parts_stand_where_it_says(acme: httpx.Client) -> None:
    issued = acme.post("/certificates", data={**FORM, "reference": "Ünïcode (1)"})
    answer = acme.get(f"{issued.url.path}/receipt.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    pdf = answer.content
    assert pdf.startswith(b"%PDF-1.4\n")
    assert pdf.endswith(b"%%EOF\n")
    table = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", pdf)[1])  # type: ignore[index]
    entries = pdf[table:].split(b"\n")[3:9]
    for number, entry in enumerate(entries, start=1):
        assert pdf[int(entry[:10]) :].startswith(b"%d 0 obj\n" % number)
    length = int(re.search(rb"/Length (\d+)", pdf)[1])  # type: ignore[index]
    assert pdf[pdf.index(b"stream\n") + 7 :][length:].startswith(b"\nendstream")
    assert issued.url.path.rpartition("/")[2].encode() in pdf


def test_a_submission_that_hangs_is_counted_and_is_answered_when_released(portal: Server, acme: httpx.Client) -> None:
    acme.post("/_demo/faults", json={"hang_next_submit": True})
    with pytest.raises(httpx.ReadTimeout):
        acme.post("/certificates", data=FORM, timeout=0.5)
    assert _counts(acme) == {"10482113000107": 1}
    acme.post("/_demo/faults", json={"hang_next_submit": True})
    answers: list[int] = []

    def submit() -> None:
        with httpx.Client(
            base_url=portal.url, verify=portal.context("acme"), cookies=acme.cookies, timeout=20
        ) as other:
            answers.append(other.post("/certificates", data=FORM).status_code)

    thread = threading.Thread(target=submit)
    thread.start()
    while _counts(acme) != {"10482113000107": 2} and thread.is_alive():
        pass
    acme.delete("/_demo/faults")
    thread.join(10)
    assert answers == [303]


def test_a_refused_submission_is_not_counted_and_the_next_one_is(acme: httpx.Client) -> None:
    acme.post("/_demo/faults", json={"fail_next_submit": True})
    assert acme.post("/certificates", data=FORM).status_code == 500
    assert _counts(acme) == {}
    assert acme.post("/certificates", data=FORM).status_code == 200
    assert _counts(acme) == {"10482113000107": 1}


def test_an_unknown_switch_is_refused(acme: httpx.Client) -> None:
    assert acme.post("/_demo/faults", json={"explode": True}).status_code == 422


def test_what_was_submitted_and_who_is_logged_in_survive_a_killed_portal(portal: Server, acme: httpx.Client) -> None:
    acme.post("/certificates", data=FORM)
    portal.stop()
    portal.start()
    with httpx.Client(base_url=portal.url, verify=portal.context("acme"), cookies=acme.cookies) as again:
        assert again.get("/search").status_code == 200
        assert _counts(again) == {"10482113000107": 1}


def test_the_pki_is_made_once_renewed_in_time_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ensure_pki(tmp_path, now)
    names = [f"{client}{end}" for client in ("acme", "globex") for end in (".pem", ".p12", ".p12.password")]
    before = {name: (tmp_path / name).read_bytes() for name in ["ca.pem", "server.pem", *names]}
    assert all(os.stat(tmp_path / name).st_mode & 0o077 == 0 for name in before)
    ensure_pki(tmp_path, now + timedelta(days=1))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    ensure_pki(tmp_path, now + timedelta(days=380))
    assert (tmp_path / "ca.pem").read_bytes() == before["ca.pem"]
    assert (tmp_path / "server.pem").read_bytes() != before["server.pem"]
    password = (tmp_path / "acme.p12.password").read_bytes()
    _, certificate, _ = pkcs12.load_key_and_certificates((tmp_path / "acme.p12").read_bytes(), password)
    assert certificate == x509.load_pem_x509_certificate((tmp_path / "acme.pem").read_bytes())
