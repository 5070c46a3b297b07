"""What goes in and never comes back: documents, endpoints' secrets, keys, passwords."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import NameOID

from services.executor.core.totp import Totp
from shared.seal import SealBroken, Sealer
from tests.integration.console.site import ACME, MASTER_KEY, PASSWORD, Site

ORIGIN = "https://portal.example:8443"


def _pkcs12(passphrase: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Acme Ltda")])
    at = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 7, at, at + timedelta(days=30)).sign(
        key, hashes.SHA256()
    )
    encryption = BestAvailableEncryption(passphrase.encode())
    return base64.b64encode(serialize_key_and_certificates(b"acme", key, certificate, None, encryption)).decode()


def test_text_is_sealed_for_the_executor_and_shown_to_nobody(console: Site, admin: httpx.Client) -> None:
    put = admin.put(f"documents/{ACME}/portal/password", json={"kind": "text", "text": "hunter2-secret"})
    assert put.status_code == 200
    shown = [put.text, admin.get("documents").text, admin.get(f"documents/{ACME}/portal/password").text]
    assert not any("hunter2" in text for text in shown)
    stored = console.db["documents"].find_one({"_id": f"{ACME}/portal/password"})
    assert stored is not None
    assert b"hunter2" not in bytes(stored["sealed"])
    sealer = Sealer(MASTER_KEY)
    plain = sealer.open("document", bytes(stored["sealed"]), f"{ACME}/portal/password".encode())
    assert json.loads(plain) == {"kind": "text", "text": "hunter2-secret"}
    with pytest.raises(SealBroken):
        sealer.open("document", bytes(stored["sealed"]), b"other/portal/password")
    assert "hunter2" not in str(list(console.db["audit"].find({"account": ACME})))


def test_certificate_is_read_when_it_is_stored(console: Site, admin: httpx.Client) -> None:
    body = {"kind": "certificate", "pkcs12": _pkcs12("open sesame"), "passphrase": "open sesame", "origins": [ORIGIN]}
    put = admin.put(f"documents/{ACME}/portal/acme", json=body)
    assert put.status_code == 200, put.text
    meta = put.json()["meta"]
    assert (meta["subject"], meta["origins"]) == ("CN=Acme Ltda", [ORIGIN])
    assert datetime.fromisoformat(meta["expires_at"]) > datetime.now(UTC) + timedelta(days=28)
    stored = console.db["documents"].find_one({"_id": f"{ACME}/portal/acme"})
    assert stored is not None
    plain = json.loads(Sealer(MASTER_KEY).open("document", bytes(stored["sealed"]), f"{ACME}/portal/acme".encode()))
    assert plain == {"kind": "certificate", **{name: body[name] for name in ("pkcs12", "passphrase", "origins")}}


def test_certificates_that_could_not_work_are_refused(console: Site, admin: httpx.Client) -> None:
    good = _pkcs12("right")
    for pkcs12, passphrase, origins in [
        (good, "wrong", [ORIGIN]),
        (base64.b64encode(b"no pkcs12").decode(), "right", [ORIGIN]),
        ("no base64!", "right", [ORIGIN]),
        (good, "right", []),
        (good, "right", ["ftp://portal.example"]),
    ]:
        body = {"kind": "certificate", "pkcs12": pkcs12, "passphrase": passphrase, "origins": origins}
        answer = admin.put(f"documents/{ACME}/portal/refused", json=body)
        assert answer.status_code == 422
        assert good not in answer.text
    assert console.db["documents"].find_one({"_id": f"{ACME}/portal/refused"}) is None


def test_an_endpoint_whose_server_has_no_readable_key_is_refused(admin: httpx.Client) -> None:
    options = {
        "host": "files.example",
        "user": "acme",
        "document": "sftp/acme",
        "folder": "/in",
        "host_key": "ssh-rsa x",
    }
    refused = admin.put(f"endpoints/{ACME}/files", json={"kind": "sftp", "options": options})
    assert (refused.status_code, "host_key" in refused.json()["detail"]) == (422, True), refused.text


def test_endpoint_secret_is_shown_once_and_the_one_before_stays(console: Site, admin: httpx.Client) -> None:
    path = f"endpoints/{ACME}/results"
    made = admin.put(path, json={"url": "https://acme.example/hooks"}).json()
    assert made["secret"].startswith("whsec_")
    again = admin.put(path, json={"url": "https://acme.example/hooks2", "events": ["failed"]}).json()
    assert (again["secret"], again["url"], again["events"]) == (None, "https://acme.example/hooks2", ["failed"])
    own = "whsec_" + base64.b64encode(b"o" * 32).decode()
    for _ in range(2):  # setting the same secret again must not push the older one out
        assert admin.put(path, json={"url": "https://acme.example/hooks2", "secret": own}).json()["secret"] is None
    stored = console.db["endpoints"].find_one({"_id": f"{ACME}/results"})
    assert stored is not None
    opened = [
        Sealer(MASTER_KEY).open("endpoint-secret", bytes(one), f"{ACME}/results".encode()).decode()
        for one in stored["secrets"]
    ]
    assert opened == [own, made["secret"]]
    assert "whsec_" not in admin.get("endpoints").text + admin.get(path).text
    assert "whsec_" not in str(list(console.db["audit"].find({"account": ACME})))
    for secret in (
        "whsec_short",
        "whsec_" + base64.b64encode(b"x" * 10).decode(),
        base64.b64encode(b"x" * 32).decode(),
    ):
        refused = admin.put(path, json={"url": "https://acme.example/", "secret": secret})
        assert refused.status_code == 422
        assert secret not in refused.text
    assert admin.delete(path).status_code == 204
    assert admin.get(path).status_code == 404


def test_key_is_stored_as_its_hash_and_can_be_revoked(console: Site, admin: httpx.Client) -> None:
    body = {"account": ACME, "partner": "erp", "name": "erp", "scopes": ["tasks", "results"]}
    made = admin.post("keys", json=body).json()
    assert made["key"].startswith(f"rgk_{made['id']}_")
    stored = console.db["keys"].find_one({"_id": made["id"]})
    assert stored is not None
    secret = made["key"].split("_", 2)[2]
    assert stored["hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert stored["hash"] not in admin.get("keys").text
    assert secret not in admin.get("keys").text
    assert admin.delete(f"keys/{made['id']}").status_code == 204
    shown = [one for one in admin.get("keys").json()["items"] if one["id"] == made["id"]]
    assert shown[0]["revoked_at"] is not None


def test_passwords_are_argon2id_and_long(console: Site, admin: httpx.Client) -> None:
    stored = console.db["users"].find_one({"_id": "vera"})
    assert stored is not None
    assert stored["password"].startswith("$argon2id$")
    assert "argon2" not in admin.get("users").text
    refused = admin.post("users", json={"user": "short", "password": "a1b2c3d4", "role": "viewer", "accounts": ["*"]})
    assert refused.status_code == 422
    assert "a1b2c3d4" not in refused.text
    again = admin.post("users", json={"user": "vera", "password": PASSWORD, "role": "viewer", "accounts": ["*"]})
    assert again.status_code == 409


def test_robots_key_hashes_are_not_shown(console: Site, admin: httpx.Client) -> None:
    from tests.integration.console.site import put_worker

    worker = put_worker(console, "0a0000000003", ACME)
    assert "secret-hash" not in admin.get("workers").text + admin.get(f"workers/{worker}").text


def test_log_ins_and_one_time_codes_are_sealed(console: Site, admin: httpx.Client) -> None:
    login = {"kind": "login", "user": "ann", "password": "hunter2-login"}
    put = admin.put(f"documents/{ACME}/erp/login", json=login)
    assert (put.status_code, put.json()["meta"]) == (200, {"user": "ann"})
    totp = {"kind": "totp", "secret": "gezd gnbv gy3t qojq gezd gnbv gy3t qojq", "digits": 8}
    put = admin.put(f"documents/{ACME}/portal/otp", json=totp)
    assert (put.status_code, put.json()["meta"]) == (200, {"digits": 8, "period_s": 30, "algorithm": "SHA1"})
    shown = admin.get("documents").text + str(list(console.db["audit"].find({"account": ACME})))
    assert not any(secret in shown.lower() for secret in ("hunter2-login", "gezdgnbv", "gezd gnbv"))
    plain = {}
    for name in ("erp/login", "portal/otp"):
        stored = console.db["documents"].find_one({"_id": f"{ACME}/{name}"})
        assert stored is not None
        plain[name] = json.loads(
            Sealer(MASTER_KEY).open("document", bytes(stored["sealed"]), f"{ACME}/{name}".encode())
        )
    assert plain["erp/login"] == login
    assert Totp.of(plain["portal/otp"]).code(59) == "94287082"  # RFC 6238, appendix B
    for wrong in (
        {"kind": "totp", "secret": "no base32!"},
        {"kind": "totp", "secret": "GEZDGNBV"},
        {"kind": "totp", "secret": totp["secret"], "digits": 5},
        {"kind": "totp", "secret": totp["secret"], "period_s": 1},
        {"kind": "totp", "secret": totp["secret"], "algorithm": "MD5"},
        {"kind": "login", "user": "a:b", "password": "x"},
        {"kind": "login", "user": "a"},
    ):
        refused = admin.put(f"documents/{ACME}/portal/wrong", json=wrong)
        assert refused.status_code == 422, wrong
        assert str(totp["secret"]) not in refused.text
