"""The portal's own certificate authority, its server certificate and the certificates of its clients.

Owns: REGENTE_HOME/demo/pki: ca.pem (certificate), ca-key.pem, server.pem, and per client <name>.pem (certificate and
key), <name>.p12 and <name>.p12.password. Called by: demo.portal.__main__ at start, tests. Survives a crash: every file
is written under another name and moved into place; what is missing, about to expire or signed by another CA is made
anew at the next start. Change also: demo/run.py, which stores a client's PKCS#12 file as a document.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 390
RENEW_BEFORE = timedelta(days=30)
CLIENTS = {"acme": "Acme Accounting Ltd", "globex": "Globex Payroll Services"}
"""The portal's clients: file name and the organisation that the certificate names."""


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """Certificate and unencrypted key in one PEM text, as `ssl` and httpx read it."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self.certificate.public_bytes(serialization.Encoding.PEM) + key


def ensure_pki(folder: Path, now: datetime) -> None:
    """Make what is missing or expires within a month; leave the rest as it is. `now` is timezone-aware."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = _load(folder / "ca-key.pem", now) or _make_authority(now)
    _write(folder / "ca-key.pem", authority.pem())
    _write(folder / "ca.pem", authority.certificate.public_bytes(serialization.Encoding.PEM))
    if _load_leaf(folder / "server.pem", authority, now) is None:
        _write(folder / "server.pem", _make_server(authority, now).pem())
    for name, organisation in CLIENTS.items():
        if _load_leaf(folder / f"{name}.pem", authority, now) is None:
            _write_client(folder, name, _make_client(authority, name, organisation, now), authority.certificate)


def _write_client(folder: Path, name: str, identity: Identity, authority: x509.Certificate) -> None:
    # The PEM comes last: it is what the next start looks for, so a crash in between makes all three files anew.
    password = secrets.token_urlsafe(18)
    bundle = pkcs12.serialize_key_and_certificates(
        name.encode(),
        identity.key,
        identity.certificate,
        [authority],
        serialization.BestAvailableEncryption(password.encode()),
    )
    (folder / f"{name}.pem").unlink(missing_ok=True)
    _write(folder / f"{name}.p12", bundle)
    _write(folder / f"{name}.p12.password", password.encode())
    _write(folder / f"{name}.pem", identity.pem())


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _load(path: Path, now: datetime) -> Identity | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    certificate = x509.load_pem_x509_certificate(content)
    key = serialization.load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.not_valid_after_utc - now < RENEW_BEFORE:
        return None
    return Identity(certificate, key)


def _load_leaf(path: Path, authority: Identity, now: datetime) -> Identity | None:
    leaf = _load(path, now)
    if leaf is None:
        return None
    try:
        leaf.certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, ValueError):
        return None
    return leaf


def _make_authority(now: datetime) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("Aurora Revenue Service Root CA", "Aurora Revenue Service")
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(subject, subject, key, now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


def _make_server(authority: Identity, now: datetime) -> Identity:
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    subject = _name("localhost", "Aurora Revenue Service")
    return _sign_leaf(authority, subject, ExtendedKeyUsageOID.SERVER_AUTH, now, names)


def _make_client(authority: Identity, name: str, organisation: str, now: datetime) -> Identity:
    return _sign_leaf(authority, _name(name, organisation), ExtendedKeyUsageOID.CLIENT_AUTH, now, None)


def _sign_leaf(
    authority: Identity,
    subject: x509.Name,
    use: x509.ObjectIdentifier,
    now: datetime,
    names: x509.SubjectAlternativeName | None,
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(subject, authority.certificate.subject, key, now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return Identity(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )
