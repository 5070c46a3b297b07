"""An authority of one's own, and certificates for servers and services: files in one folder.

Called by: `regente certs`, the local cluster. Survives a crash: each file is moved into its place whole, a key before
its certificate; run again, it makes what is missing. Sources: RFC 5280; the limit of 825 days for server certificates
that clients accept.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS, DAYS_MAX = 397, 825
AUTHORITY_DAYS = 3650
RENEW_DAYS = 30
"""A certificate that ends so soon is made anew."""
AUTHORITIES_MAX = 5
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")
_BACK = timedelta(hours=1)
"""Certificates begin so long ago, for clocks that are behind."""
_SEPARATOR = b"-----END CERTIFICATE-----\n"


class BadCertificates(ValueError):
    """What was asked for can't be made; the text says why and what to do."""


def make(
    folder: Path,
    names: Mapping[str, Sequence[str]],
    now: datetime,
    *,
    days: int = DAYS,
    readable: bool = False,
    new_authority: bool = False,
) -> list[str]:
    """Make what is missing, has other hosts, ends within RENEW_DAYS, or was signed by another authority.

    names: hosts and IP addresses by the name of a certificate's files: NAME.pem, NAME.key, NAME.both.pem (both, as
    MongoDB and HAProxy want it). ca.pem holds the authority, and the ones before it after a change; ca.key its key.
    days: how long certificates are valid. readable: keys are readable by all, for containers that read them as users of
    their own; keep the folder to yourself then. new_authority: replace it; what it signed anew is believed by whoever
    has the new ca.pem, so hand that out first.
    Returns: what was made, in words. Raises: BadCertificates, OSError.
    """
    if not 1 <= days <= DAYS_MAX:
        raise BadCertificates(f"certificates are valid for 1 to {DAYS_MAX} days, not {days}")
    for name, hosts in names.items():
        if not NAME.match(name) or name == "ca":
            raise BadCertificates(f"{name!r} is no name for a certificate's files: a-z, 0-9, ., _ and -; not 'ca'")
        if not hosts:
            raise BadCertificates(f"{name} has no host; give {name}=host.example,10.0.0.7")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority, key, said = _authority(folder, now, new_authority=new_authority)
    for name, hosts in names.items():
        why = _stale(folder / f"{name}.pem", hosts, authority, now)
        if why:
            _issue(folder, name, hosts, authority, key, now, days=days, readable=readable)
            said.append(f"{name}.pem for {', '.join(hosts)} ({why})")
    return said


def _authority(
    folder: Path, now: datetime, *, new_authority: bool
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, list[str]]:
    """The authority, made when there is none."""
    bundle, key_file = folder / "ca.pem", folder / "ca.key"
    before = bundle.read_bytes() if bundle.exists() else b""
    if before and key_file.exists() and not new_authority:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise BadCertificates(f"{key_file} holds no key of an elliptic curve, as `regente certs` makes them")
        for found in x509.load_pem_x509_certificates(before):
            if found.public_key() == key.public_key():  # ca.key is moved first: after a crash it may fit none
                return found, key, []
    if before and not key_file.exists() and not new_authority:
        raise BadCertificates(f"{bundle} is there without ca.key; bring the key back, or replace the authority")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Regente authority {now:%Y-%m-%d %H:%M:%S}")])
    made = (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _put(key_file, _pem_of(key), 0o600)
    older = before.split(_SEPARATOR)[: AUTHORITIES_MAX - 1]
    kept = b"".join(one + _SEPARATOR for one in older if one.strip())
    _put(bundle, made.public_bytes(serialization.Encoding.PEM) + kept, 0o644)
    return made, key, ["ca.pem, an authority" + (" in place of the one before, which stays in it" if kept else "")]


def _stale(path: Path, hosts: Sequence[str], authority: x509.Certificate, now: datetime) -> str:
    """Why a certificate is to be made; empty: it is fine."""
    files = [path, path.with_suffix(".key"), path.with_suffix(".both.pem")]
    if not all(file.exists() for file in files):
        return "new"
    found = x509.load_pem_x509_certificate(path.read_bytes())
    if found.not_valid_after_utc - now < timedelta(days=RENEW_DAYS):
        return f"the one before ends on {found.not_valid_after_utc:%Y-%m-%d}"
    if found.issuer != authority.subject:
        return "another authority"
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return "" if list(names) == _alternatives(hosts) else "other hosts"


def _issue(
    folder: Path, name: str, hosts: Sequence[str], authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey,
    now: datetime, *, days: int, readable: bool,
) -> None:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    both_ways = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(subject, authority.subject, key, now, days)
        .add_extension(x509.SubjectAlternativeName(_alternatives(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both_ways), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    mode = 0o644 if readable else 0o600
    _put(folder / f"{name}.key", _pem_of(key), mode)
    _put(folder / f"{name}.both.pem", certificate + _pem_of(key), mode)
    _put(folder / f"{name}.pem", certificate, 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before(now - _BACK).not_valid_after(now + timedelta(days=days))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternatives(hosts: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for host in hosts:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            try:
                found.append(x509.DNSName(host))
            except (ValueError, TypeError) as error:
                raise BadCertificates(f"{host!r} is no host: {error}") from error
    return found


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def _put(path: Path, data: bytes, mode: int) -> None:
    """Move a file into its place, whole and with its mode."""
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    new.rename(path)
