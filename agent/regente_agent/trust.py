"""Let the browser, and the agent itself, trust one more certificate authority, without touching the machine's own list.

Called by: drivers.browser, __main__ (believe), amqp. Survives a crash: nothing. Change also: nothing.

Chromium takes hashes of public keys whose chains it accepts (--ignore-certificate-errors-spki-list); Playwright's own
TLS end, which stands in when a client certificate is used, reads NODE_EXTRA_CA_CERTS. Both are derived from one PEM
file.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import ssl
import urllib.request
from pathlib import Path
from typing import List, Optional, Tuple

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION_TAG = 0xA0
_BEFORE_KEY = 5
"""Between a certificate's version and its key: serial, signature, issuer, validity, subject (RFC 5280, 4.1)."""


def switches(ca_file: Optional[str]) -> List[str]:
    """Chromium's command line switches that make it trust the authorities of a PEM file; also tells Playwright.

    Raises: ValueError when the file holds no certificate.
    """
    if ca_file is None:
        return []
    os.environ["NODE_EXTRA_CA_CERTS"] = ca_file
    hashes = [spki_hash(base64.b64decode(match)) for match in _PEM.findall(Path(ca_file).read_bytes())]
    if not hashes:
        raise ValueError(f"{ca_file} holds no certificate")
    return ["--ignore-certificate-errors-spki-list=" + ",".join(hashes)]


_believed: Optional[ssl.SSLContext] = None


def believe(ca_file: Optional[str]) -> None:
    """From now on, connections to the server (HTTPS, and AMQP over TLS) trust the authorities of a PEM file as well.

    Raises: OSError, ssl.SSLError when the file can't be used.
    """
    global _believed
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        made.load_verify_locations(ca_file)
    _believed = made
    urllib.request.install_opener(urllib.request.build_opener(urllib.request.HTTPSHandler(context=made)))


def context() -> ssl.SSLContext:
    """Whom connections to the server trust."""
    if _believed is None:
        believe(None)
    assert _believed is not None
    return _believed


def spki_hash(der: bytes) -> str:
    """Base64 of the SHA-256 of a certificate's SubjectPublicKeyInfo."""
    certificate, _ = _content(der, 0)
    body, _ = _content(certificate, 0)
    at = 0
    if body[0] == _VERSION_TAG:
        at = _content(body, 0)[1]
    for _ in range(_BEFORE_KEY):
        at = _content(body, at)[1]
    end = _content(body, at)[1]
    return base64.b64encode(hashlib.sha256(body[at:end]).digest()).decode()


def _content(der: bytes, at: int) -> Tuple[bytes, int]:
    """The content of the DER element that begins at `at`, and where the next one begins (X.690, 8.1)."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    if begin + length > len(der):
        raise ValueError("the certificate is cut off")
    return der[begin : begin + length], begin + length
