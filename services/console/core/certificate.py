"""PKCS#12 files with a client certificate: read, and refused when they could not work.

Called by: store/documents.py when one is stored. The key never leaves the bytes that are sealed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

SIZE_BYTES_MAX = 256 * 1024


@dataclass(frozen=True)
class CertificateFacts:
    """What may be shown of a certificate."""

    subject: str
    issuer: str
    expires_at: datetime


def read_certificate(pkcs12: bytes, passphrase: str) -> CertificateFacts:
    """Open a PKCS#12 file and say whose certificate it holds.

    Raises: ValueError that says why it can't be used: not PKCS#12, a wrong passphrase, no key, no certificate, a key
    that belongs to another certificate.
    """
    if len(pkcs12) > SIZE_BYTES_MAX:
        raise ValueError(f"the file has {len(pkcs12)} bytes; at most {SIZE_BYTES_MAX} are taken")
    try:
        store = load_pkcs12(pkcs12, passphrase.encode() or None)
    except ValueError as error:
        raise ValueError("this is no PKCS#12 file, or the passphrase is wrong") from error
    except Exception as error:  # the parser's other errors share no type
        raise ValueError("this PKCS#12 file can't be read") from error
    if store.key is None:
        raise ValueError("the PKCS#12 file holds no private key")
    if store.cert is None:
        raise ValueError("the PKCS#12 file holds no certificate for its key")
    certificate = store.cert.certificate
    ours = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if store.key.public_key().public_bytes(*ours) != certificate.public_key().public_bytes(*ours):
        raise ValueError("the private key does not belong to the certificate")
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        expires_at=certificate.not_valid_after_utc,
    )
